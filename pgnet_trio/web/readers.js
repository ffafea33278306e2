/**
 * The iterators over what a game tells. They outlive sessions and end with the game.
 *
 * @import { GameFeeds, GameView } from "./view.js"
 * @module
 */

import { PGNetError, SessionLost } from "./errors.js";

/**
 * What a reader does with the feeds of one game.
 *
 * @template T
 * @typedef {object} Source
 * @property {(feeds: GameFeeds) => {value: T} | undefined} next Returns the next item, if there is one.
 * @property {(feeds: GameFeeds) => {ended: boolean, error: PGNetError | null, wait: () => Promise<void>}} feed
 *     Returns the feed that it comes from.
 * @property {(feeds: GameFeeds) => boolean} isRead Whether the end of the feed has been read.
 * @property {(feeds: GameFeeds) => void} noteEnd Notes that it has.
 * @property {(feeds: GameFeeds, isBusy: boolean) => void} occupy Notes that somebody waits, or throws
 *     where another one does; or notes that nobody does.
 */

/**
 * Iterate over what games tell: the one that is current, until the user is out of it.
 *
 * @template T
 * @param {() => GameView} view Returns what the client knows of its game.
 * @param {Source<T>} source What to read.
 * @returns {AsyncIterableIterator<T>}
 */
export function read(view, source) {
  /** @type {GameFeeds | null} */
  let feeds = null;
  let isDone = false;
  // Whoever leaves the loop must not be waited for any more.
  let leave = () => {};
  /** @type {Promise<void>} */
  const left = new Promise((resolve) => (leave = resolve));

  /** @returns {Promise<IteratorResult<T>>} */
  const next = async () => {
    feeds ??= view().toRead(source.isRead);
    while (!isDone) {
      const found = source.next(feeds);
      if (found) return { done: false, value: found.value };
      const feed = source.feed(feeds);
      if (feed.ended) {
        source.noteEnd(feeds);
        if (feed.error instanceof SessionLost) {
          feeds = view().current;
          continue;
        }
        isDone = true;
        if (feed.error) throw feed.error;
        break;
      }
      source.occupy(feeds, true);
      const waiting = feeds;
      try {
        await Promise.race([feed.wait(), left]);
      } finally {
        source.occupy(waiting, false);
      }
    }
    return { done: true, value: undefined };
  };

  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next,
    return: async () => {
      isDone = true;
      leave();
      return { done: true, value: undefined };
    },
  };
}

/**
 * Return how pushes, or questions, are read.
 *
 * @template {{message: string}} T
 * @param {(feeds: GameFeeds) => import("./feeds.js").Feed<T>} feedOf Returns the feed.
 * @param {string[]} messages Only items with these messages; none for all.
 * @returns {Source<T>}
 */
export function itemsOf(feedOf, messages) {
  const kinds = messages.length ? new Set(messages) : null;
  const names = kinds ? [...kinds] : [null];
  return {
    next: (feeds) => {
      const item = feedOf(feeds).next(kinds);
      return item && { value: item };
    },
    feed: feedOf,
    isRead: (feeds) => names.every((name) => feedOf(feeds).endSeen.has(name)),
    noteEnd: (feeds) => names.forEach((name) => feedOf(feeds).endSeen.add(name)),
    occupy: (feeds, isBusy) => {
      const { readers } = feedOf(feeds);
      if (isBusy && names.some((name) => readers.has(name))) {
        throw new PGNetError("another loop waits for the same: only one can have each item", "another_loop");
      }
      for (const name of names) {
        if (isBusy) readers.add(name);
        else readers.delete(name);
      }
    },
  };
}

/**
 * Return how states are read: always the latest.
 *
 * @returns {Source<any>}
 */
export function latestStates() {
  /** @type {GameFeeds["states"] | null} */
  let seenIn = null;
  let seen = 0;
  return {
    next: ({ states }) => {
      if (states.count === (states === seenIn ? seen : 0)) return undefined;
      seenIn = states;
      seen = states.count;
      return { value: states.data };
    },
    feed: ({ states }) => states,
    isRead: ({ states }) => states.endSeen,
    noteEnd: ({ states }) => (states.endSeen = true),
    occupy: () => {},
  };
}
