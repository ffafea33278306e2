/**
 * What players do beside their games: look for others, see how good they are, save a profile, invite.
 *
 * It is a file of its own, since not every game needs it: each function takes the page's client, and
 * asks for no more than its public methods.
 *
 * @import { Client } from "./client.js"
 * @module
 */

import { CodecError, Disconnected, PGNetError, Rejected, SessionLost } from "./client.js";

const FIND_GAME = "__pgnet__.find_game";
const CONFIRM_MATCH = "__pgnet__.confirm_match";
const LEAVE_QUEUE = "__pgnet__.leave_queue";
const JOIN_GAME = "__pgnet__.join_game";
const INVITE = "__pgnet__.invite";
const LEADERBOARD = "__pgnet__.leaderboard";
const HISTORY = "__pgnet__.history";
const READ_PROFILE = "__pgnet__.read_profile";
const WRITE_PROFILE = "__pgnet__.write_profile";

/**
 * What a user looks for.
 *
 * @typedef {object} Wanted
 * @property {string} [queue] The queue; left out where the game has only one.
 * @property {Record<string, any>} [properties] What the user looks for, as the queue knows it.
 * @property {boolean} [accept] Whether to confirm a match at once, as if the user had: the default.
 *     If not, the page calls `accept()`.
 */

/**
 * A line of a leaderboard.
 *
 * @typedef {object} Standing
 * @property {number} rank 1 for the best; those with one score have one rank.
 * @property {string} username The player.
 * @property {number} score Their score.
 */

/**
 * A part of a leaderboard.
 *
 * @typedef {object} Standings
 * @property {string} name Its name.
 * @property {number} total How many players are on it.
 * @property {Standing[]} entries The lines.
 */

/**
 * A game that was played, as its result says.
 *
 * @typedef {object} PlayedGame
 * @property {number} number Its place in the user's history; later games have higher numbers.
 * @property {string} name The name that the game had.
 * @property {Date} endedAt When its result was reported.
 * @property {string[][]} ranks The players, the best first; those in one array have one rank.
 * @property {Record<string, number>} scores The score of each player who has one.
 * @property {Record<string, Record<string, number>>} boards Scores for single leaderboards.
 * @property {Record<string, {before: number, after: number}>} ratings How the ratings have changed.
 */

/**
 * What a user has saved.
 *
 * @typedef {object} Profile
 * @property {Record<string, any>} data The save; empty where nothing was saved.
 * @property {number} version How often it was saved: 0 for never.
 */

/**
 * An invitation to a game.
 *
 * @typedef {object} Invitation
 * @property {string} inviter The player who has invited the user.
 * @property {string} game The game.
 * @property {string} gameClass The name of its class.
 * @property {(given?: {spectate?: boolean}) => Promise<void>} join Join it, once without its password.
 */

/** @type {WeakMap<Client<any>, Search>} */
const latest = new WeakMap();

/** A search for a game, from `findGame`. Its properties say how it goes. */
export class Search {
  /** The user's place among those who look, 1 for who has looked longest; null while that is not known. */
  position = /** @type {number | null} */ (null);

  /** Whether there is a match, which waits for all of its users to confirm it. */
  isFound = false;

  /** Whether the search has ended, with a game or without one. */
  isOver = false;

  /** The game that it has led into; null while it has not. */
  game = /** @type {string | null} */ (null);

  #client;
  #wish;
  #accepts;
  #match = 0;
  #since = NaN;
  #deadline = Infinity;
  // Whether the server has said yes, and knows it still.
  #isBegun = false;
  /** @type {unknown} */
  #error = null;
  #changes = 0;
  /** @type {Set<() => void>} */
  #waiting = new Set();
  /** @type {(() => void)[]} */
  #stops;

  /**
   * Use `findGame` instead.
   *
   * @param {Client<any>} client The page's client.
   * @param {number} id The number of the search.
   * @param {Wanted} wanted What the user looks for.
   */
  constructor(client, id, { queue, properties, accept = true }) {
    this.#client = client;
    this.#accepts = accept;
    this.#wish = { id, ...(queue && { queue }), ...(properties && { properties }) };
    this.#stops = [
      client.on("search", (fields) => this.#take(fields)),
      client.on("connection", (isConnected) => {
        // The server has forgotten the search with the session, and is asked anew in the next one.
        if (isConnected || client.endError || !this.#isBegun) return;
        this.#forget();
        void this.#ask();
      }),
      client.on("end", (error) => {
        this.#fail(error instanceof Disconnected ? error : new Disconnected(error.message, error.code, { cause: error }));
      }),
    ];
    void this.#ask();
  }

  /** The number by which the server knows it. */
  get id() {
    return this.#wish.id;
  }

  /** For how many seconds the user has looked, as the server counts them. */
  get waited() {
    return this.#since >= 0 ? Math.max(0, now() - this.#since) : 0;
  }

  /** The seconds until a match that is found has to be accepted; `Infinity` for none. */
  get secondsLeft() {
    return this.isFound ? Math.max(0, this.#deadline - now()) : Infinity;
  }

  /**
   * Wait until the user is in the game.
   *
   * @returns {Promise<string | null>} Its name; null after `cancel()`.
   * @throws {Rejected} The server has ended the search, or does not begin it: its code says why.
   * @throws {Disconnected} The session ended first.
   */
  async joined() {
    while (!this.isOver) await this.#change();
    if (this.#error) throw this.#error;
    return this.game;
  }

  /**
   * Iterate over the search itself, whenever something has changed, until it is over.
   *
   * @returns {AsyncGenerator<Search, void, void>}
   * @throws {Rejected} As for `joined`.
   */
  async *[Symbol.asyncIterator]() {
    let seen = 0;
    for (;;) {
      while (seen === this.#changes && !this.isOver) await this.#change();
      seen = this.#changes;
      if (this.#error) throw this.#error;
      if (this.isOver) return;
      yield this;
    }
  }

  /**
   * Confirm that the user is there for the match that is found.
   *
   * @throws {Rejected} There is no such match any more; the search may go on.
   */
  async accept() {
    await this.#client.call(CONFIRM_MATCH, { id: this.id, match: this.#match });
  }

  /** Look no more. A match that is not made yet is called off; whoever is in the game stays there. */
  cancel() {
    if (this.isOver) return;
    this.#end();
    void this.#leave();
  }

  async #ask() {
    while (!this.isOver) {
      try {
        const { payload } = await this.#client.call(FIND_GAME, this.#wish);
        // The server may have told more by now than this answer.
        this.#isBegun = true;
        if (!(this.#since >= 0)) this.#since = now();
        if (!this.isFound && typeof payload.position === "number") this.position = payload.position;
        this.#noteChange();
        return;
      } catch (error) {
        // Nobody has it: it is asked for again in the next session.
        if (error instanceof SessionLost && !this.#client.endError) continue;
        this.#fail(error);
      }
    }
  }

  /** @param {any[]} fields */
  #take([id, state, position = 0, waited = 0, match = 0, seconds = 0, reason = "", code = ""]) {
    if (id !== this.id || this.isOver) return;
    if (state === "waiting") {
      this.position = position;
      this.isFound = false;
      this.#since = now() - waited;
    } else if (state === "found") {
      this.isFound = true;
      this.#match = match;
      this.#deadline = now() + seconds;
      // Refused where the match was called off meanwhile, which the server says too.
      if (this.#accepts) this.accept().catch(() => {});
    } else if (state === "joined") {
      this.game = this.#client.game;
      this.#end();
    } else if (state === "over") {
      this.#fail(new Rejected({ message: reason, payload: {}, status: 2, createdOn: null, code }));
    } else return;
    this.#noteChange();
  }

  #forget() {
    this.#isBegun = this.isFound = false;
    this.position = null;
    this.#since = NaN;
    this.#noteChange();
  }

  async #leave() {
    try {
      await this.#client.request(LEAVE_QUEUE, { id: this.id });
    } catch (error) {
      // Without its session, there is no search either.
      if (!(error instanceof PGNetError)) throw error;
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    if (this.isOver) return;
    this.#error = error;
    this.#end();
  }

  #end() {
    this.isOver = true;
    this.isFound = false;
    for (const stop of this.#stops) stop();
    this.#noteChange();
  }

  #noteChange() {
    this.#changes++;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** @returns {Promise<void>} */
  #change() {
    return new Promise((resolve) => void this.#waiting.add(resolve));
  }
}

/**
 * Look for a game with others. It goes on over dropped connections and lost sessions.
 *
 * @param {Client<any>} client The page's client, which is logged in.
 * @param {Wanted} [wanted] What the user looks for.
 * @returns {Search} How it goes; wait for `joined()`, or iterate over it.
 * @throws {PGNetError} This client looks for a game already.
 * @throws {CodecError} An option is not known.
 */
export function findGame(client, wanted = {}) {
  for (const name of Object.keys(wanted)) {
    if (!["queue", "properties", "accept"].includes(name)) {
      throw new CodecError(`findGame: expected only queue, properties and accept, got ${name}`);
    }
  }
  const before = latest.get(client);
  if (before && !before.isOver) throw new PGNetError("this client looks for a game already", "already_searching");
  const search = new Search(client, (before?.id ?? 0) + 1, wanted);
  latest.set(client, search);
  return search;
}

/**
 * Return a part of a leaderboard.
 *
 * @param {Client<any>} client The page's client.
 * @param {string} [name] Its name; left out where the game has only one.
 * @param {{around?: string, offset?: number, limit?: number}} [part] Around which player, or how many
 *     lines to leave out before; and how many lines at most, up to 100, 20 by default.
 * @returns {Promise<Standings>}
 * @throws {Rejected} There is no such leaderboard, or it cannot be read now.
 */
export async function leaderboard(client, name = "", part = {}) {
  return /** @type {any} */ (await client.call(LEADERBOARD, { name, ...part })).payload;
}

/**
 * Return the games that the user has played, the latest first.
 *
 * @param {Client<any>} client The page's client.
 * @param {{before?: number, limit?: number}} [part] The `number` of a game, for those before it; and how
 *     many at most, up to 50, 20 by default.
 * @returns {Promise<PlayedGame[]>}
 * @throws {Rejected} It cannot be read now.
 */
export async function history(client, part = {}) {
  const { payload } = await client.call(HISTORY, part);
  return payload.games.map((/** @type {any} */ { ended_at, ...game }) => ({ ...game, endedAt: new Date(ended_at) }));
}

/**
 * Return what the user has saved.
 *
 * @param {Client<any>} client The page's client.
 * @returns {Promise<Profile>}
 * @throws {Rejected} The server has no place for it, or cannot read it now.
 */
export async function readProfile(client) {
  return /** @type {any} */ (await client.call(READ_PROFILE)).payload;
}

/**
 * Save something for the user, over what the page knows.
 *
 * @param {Client<any>} client The page's client.
 * @param {Record<string, any>} data At most 16 KiB as JSON.
 * @param {number} version The version that was read or written last; 0 where nothing was saved.
 * @returns {Promise<Profile>} What is saved now, of the next version.
 * @throws {Rejected} With the code `newer_profile`: something newer is saved, which its `payload` has. Or it is
 *     too long, or the server cannot save it.
 */
export async function writeProfile(client, data, version) {
  const { payload } = await client.call(WRITE_PROFILE, { data, version });
  return { data, version: payload.version };
}

/**
 * Invite a user to the game that this one plays.
 *
 * @param {Client<any>} client The page's client.
 * @param {string} username Who is invited; they have to be logged in.
 * @throws {Rejected} They are not, or this game takes no invitations, or there are too many.
 */
export async function invite(client, username) {
  await client.call(INVITE, { username });
}

/**
 * Call a function whenever somebody invites the user.
 *
 * @param {Client<any>} client The page's client.
 * @param {(invitation: Invitation) => void} listener The function.
 * @returns {() => void} Call it to listen no more.
 */
export function onInvitation(client, listener) {
  return client.on("invitation", ({ inviter, game, game_class }) => {
    listener({
      inviter,
      game,
      gameClass: game_class,
      join: async ({ spectate = false } = {}) => {
        await client.call(JOIN_GAME, { name: game, invited: true, ...(spectate && { spectate }) });
      },
    });
  });
}

function now() {
  return performance.now() / 1000;
}
