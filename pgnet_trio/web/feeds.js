/**
 * What waits until the program reads it: pushes, questions, states.
 *
 * @module
 */

import { ItemsLost, PGNetError } from "./errors.js";

/**
 * Items that a feed keeps for a program that does not read them, and their bytes. A client that is
 * back after a drop is sent up to 4,096 at once.
 */
export const MAX_UNREAD = 5 * 1024;
export const MAX_UNREAD_SIZE = 2 * 1024 * 1024;

/** What readers wait on, until it has ended. */
class Source {
  /** @type {Set<() => void>} */
  #waiting = new Set();

  constructor() {
    /** How much has come so far. */
    this.count = 0;
    /** Whether no more will come. */
    this.ended = false;
    /**
     * What readers get at the end; null where they just stop.
     *
     * @type {PGNetError | null}
     */
    this.error = null;
  }

  /**
   * Say that no more comes: readers read what is there, and then stop, or throw.
   *
   * @param {PGNetError | null} error What they throw.
   */
  end(error) {
    this.ended = true;
    this.error = error;
    this.ring();
  }

  /**
   * Wait until something has changed.
   *
   * @returns {Promise<void>}
   */
  wait() {
    return new Promise((wake) => this.#waiting.add(wake));
  }

  /** Wake all who wait. */
  ring() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

/**
 * Items in the order of arrival, until somebody reads them; a full feed drops its oldest.
 *
 * @template {{message: string}} T
 */
export class Feed extends Source {
  #what;
  /** @type {{item: T, number: number, size: number}[]} */
  #items = [];
  #size = 0;
  // Counted by kind: whoever reads one kind lost nothing when items of another were dropped.
  /** @type {Map<string, number>} */
  #lost = new Map();
  /** @param {string} what What errors call the items, in the plural. */
  constructor(what) {
    super();
    this.#what = what;
    /**
     * The kinds that somebody waits for.
     *
     * @type {Set<string | null>}
     */
    this.readers = new Set();
    /**
     * The kinds of which a reader has read everything up to the end; null for all of them.
     *
     * @type {Set<string | null>}
     */
    this.endSeen = new Set();
  }

  /**
   * @param {T} item The item.
   * @param {number} size Its bytes.
   */
  put(item, size) {
    this.#items.push({ item, number: ++this.count, size });
    this.#size += size;
    while (this.#items.length > MAX_UNREAD || (this.#size > MAX_UNREAD_SIZE && this.#items.length > 1)) {
      const { message } = this.#take(0);
      const [first] = this.#lost.keys();
      if (first !== undefined && !this.#lost.has(message) && this.#lost.size >= MAX_UNREAD) this.#lost.delete(first);
      this.#lost.set(message, (this.#lost.get(message) ?? 0) + 1);
    }
    this.ring();
  }

  /**
   * Take an item back, if nobody has read it.
   *
   * @param {T} item The item.
   */
  remove(item) {
    const index = this.#items.findIndex((each) => each.item === item);
    if (index >= 0) this.#take(index);
  }

  /**
   * Return the items after some number that nobody has read.
   *
   * @param {number} number The number.
   */
  unreadAfter(number) {
    return this.#items.filter((each) => each.number > number).map(({ item }) => item);
  }

  /**
   * Return the next item of some kinds, and forget it; undefined where there is none yet.
   *
   * @param {Set<string> | null} kinds The kinds; null for all.
   */
  next(kinds) {
    const lost = this.#takeLost(kinds);
    if (lost) {
      throw new ItemsLost(
        `${lost} ${this.#what} came while nobody read them, and are lost: at most ${MAX_UNREAD} of ` +
          `them are kept, and ${MAX_UNREAD_SIZE} bytes`,
      );
    }
    const index = kinds ? this.#items.findIndex(({ item }) => kinds.has(item.message)) : 0;
    return index >= 0 && index < this.#items.length ? this.#take(index) : undefined;
  }

  /** @param {number} index */
  #take(index) {
    const [taken] = this.#items.splice(index, 1);
    const { item, size } = /** @type {{item: T, size: number}} */ (taken);
    this.#size -= size;
    return item;
  }

  /** @param {Set<string> | null} kinds */
  #takeLost(kinds) {
    let lost = 0;
    for (const [kind, count] of this.#lost) {
      if (!kinds || kinds.has(kind)) {
        lost += count;
        this.#lost.delete(kind);
      }
    }
    return lost;
  }
}

/** The latest state, and what its readers wait on. */
export class LatestFeed extends Source {
  constructor() {
    super();
    /**
     * The latest; undefined where there was none.
     *
     * @type {any}
     */
    this.data = undefined;
    /** Whether a reader has read everything up to the end. */
    this.endSeen = false;
  }

  /** @param {any} data The latest state. */
  put(data) {
    this.count++;
    this.data = data;
    this.ring();
  }
}
