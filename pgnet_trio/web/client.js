/**
 * The client of pgnet_trio games for browsers.
 *
 * @import { Environment } from "./environment.js"
 * @import { Answer } from "./errors.js"
 * @import { AnswerTo, AnyGame, Asked, ClientEvents, ClientOptions, GameInfo, GameTypes, Push } from "./types.js"
 * @module
 */

import { urlsOf } from "./address.js";
import { byCodePoints } from "./columns.js";
import { browser } from "./environment.js";
import { CodecError, Disconnected, PGNetError, ProtocolError, Rejected } from "./errors.js";
import { checkClientOptions, checkNames } from "./options.js";
import { kindOf } from "./plain_data.js";
import { itemsOf, latestStates, read } from "./readers.js";
import { CLOSED_HERE, Run } from "./run.js";
import { CREATE_GAME, JOIN_GAME } from "./way_back.js";

export {
  CodecError,
  ConnectFailed,
  CryptoError,
  Disconnected,
  ItemsLost,
  LoginRefused,
  PGNetError,
  ProtocolError,
  QueueFull,
  Rejected,
  ServerKeyMismatch,
  SessionLost,
  TakenOver,
} from "./errors.js";
export { guest } from "./guest.js";

const LEAVE_GAME = "__pgnet__.leave_game";
const GAME_DIR = "__pgnet__.game_dir";

// Answers that a directory may have: thousands of games, and no more than fits into memory.
const MAX_PAGES = 100;

/** @satisfies {Record<keyof ClientEvents, true>} */
const EVENTS = {
  connection: true,
  online: true,
  status: true,
  announcement: true,
  invitation: true,
  search: true,
  game: true,
  left: true,
  players: true,
  state: true,
  push: true,
  lostPushes: true,
  question: true,
  end: true,
};

/**
 * A user on a server. Any number of parts of a page may use it at the same time.
 *
 * Its properties say how things are now; nobody but the client changes them.
 *
 * @template {GameTypes} [G=AnyGame]
 */
export class Client {
  #environment;
  #options;
  #urls;
  /** @type {Map<string, Set<(value: any) => void>>} */
  #listeners = new Map();
  #run;

  /**
   * @param {ClientOptions} options Who logs in, and where.
   * @param {Environment} [environment] Sockets, clocks and timers, to replace in tests.
   * @throws {CodecError} One of the options cannot be used.
   */
  constructor(options, environment = browser) {
    checkClientOptions(options);
    this.#options = options;
    this.#environment = environment;
    this.#urls = urlsOf(options.address);
    this.#run = this.#makeRun();
  }

  /** Who this client is, or will be when it is logged in. */
  get username() {
    return this.#options.username;
  }

  /** Whether the user is logged in; it stays true while a dropped connection may come back. */
  get connected() {
    return this.#run.connected;
  }

  /** Whether there is a connection now. */
  get online() {
    return this.#run.online;
  }

  /** How things are, in words for people. */
  get status() {
    return this.#run.status;
  }

  /** Why the last session ended; null while none has. */
  get endError() {
    return this.#run.endError;
  }

  /** The name of the game that the user is in, or null. */
  get game() {
    return this.#run.game;
  }

  /** How the user got out of the last game; null before that. */
  get left() {
    return this.#run.view.left;
  }

  /**
   * The players of the game in the order of joining, and whether each is connected.
   *
   * @returns {ReadonlyMap<string, boolean>}
   */
  get players() {
    return this.#run.view.players;
  }

  /**
   * The latest state of the game, which nobody can change; undefined where there is none.
   *
   * @returns {G["state"] | undefined}
   */
  get state() {
    return this.#run.view.state;
  }

  /** How many pushes of the game the server has dropped, because too much waited. */
  get lostPushes() {
    return this.#run.view.lostPushes;
  }

  /** The server's public key in base64; empty before the first log-in. */
  get serverKey() {
    return this.#run.serverKey;
  }

  /** The time in the game's room, in seconds, as far as this client can know it. */
  time() {
    return this.#run.view.clock.time();
  }

  /**
   * Connect and log in. A client whose session has ended may connect again.
   *
   * @returns {Promise<void>} Done when the user is logged in.
   * @throws {LoginRefused} The server does not let this user in.
   * @throws {ServerKeyMismatch} It is another server, or it has a new key.
   * @throws {ConnectFailed} The server was not reached.
   */
  async connect() {
    if (this.#run.endError) this.#run = this.#makeRun();
    if (this.#run.isUsed) throw new PGNetError("this client is connected, or about to be", "already_connected");
    await this.#run.connect();
  }

  /** End the session: the server frees the user's seat. A page that is closed need not do this. */
  disconnect() {
    if (this.#run.isUsed) this.#run.end(new Disconnected("disconnected by this page", CLOSED_HERE));
  }

  /**
   * Return all games of the server, in the order of their names.
   *
   * @returns {Promise<GameInfo[]>}
   * @throws {Rejected} The server refused.
   * @throws {Disconnected} There is no connection, or it ended before the answer came.
   */
  async getGameDir() {
    /** @type {Map<string, GameInfo>} */
    const games = new Map();
    let after = {};
    for (let page = 0; page < MAX_PAGES; page++) {
      const { payload } = accepted(await this.#run.request(GAME_DIR, after, true));
      const found = Object.entries(payload.games ?? {}).map(([name, info]) => readGameInfo(name, info));
      for (const info of found) games.set(info.name, info);
      if (!found.length || payload.more !== true) break;
      const names = found.map(({ name }) => name).sort(byCodePoints);
      after = { after: names.at(-1) };
    }
    return [...games.values()].sort((one, other) => byCodePoints(one.name, other.name));
  }

  /**
   * Create a game and join it.
   *
   * @param {string} [name] The game's name; without one, it is a code of four letters.
   * @param {object} [given] What else to say.
   * @param {string} [given.password] What others need to join it.
   * @param {Record<string, any>} [given.options] What the game gets as `self.room.options`.
   * @param {boolean} [given.unlisted] Whether the directory leaves it out.
   * @returns {Promise<Answer>}
   * @throws {Rejected} The game cannot be created.
   * @throws {CodecError} The name is no text, or an option is not known.
   * @throws {Disconnected} There is no connection, or it ended before the answer came.
   */
  async createGame(name = "", given = {}) {
    checkNames("createGame", given, ["password", "options", "unlisted"]);
    const { password, options, unlisted } = given;
    return await this.#enter(CREATE_GAME, name, { password, options, unlisted: unlisted || undefined });
  }

  /**
   * Join a game; one that does not exist is created, unless its name is a code.
   *
   * @param {string} name The game's name, or its code, in capitals or not.
   * @param {object} [given] What else to say.
   * @param {string} [given.password] The game's password, if it has one.
   * @param {boolean} [given.spectate] Whether only to watch.
   * @param {Record<string, any>} [given.options] What a game that is created gets as
   *     `self.room.options`. One that is there keeps its own.
   * @returns {Promise<Answer>}
   * @throws {Rejected} The game cannot be joined.
   * @throws {CodecError} The name is no text, or an option is not known.
   * @throws {Disconnected} There is no connection, or it ended before the answer came.
   */
  async joinGame(name, given = {}) {
    checkNames("joinGame", given, ["password", "spectate", "options"]);
    const { password, spectate, options } = given;
    return await this.#enter(JOIN_GAME, name, { password, spectate: spectate || undefined, options });
  }

  /**
   * Leave the game.
   *
   * @returns {Promise<Answer>}
   * @throws {Rejected} The user is in no game.
   * @throws {Disconnected} There is no connection, or it ended before the answer came.
   */
  async leaveGame() {
    return accepted(await this.#run.request(LEAVE_GAME, {}, true));
  }

  /**
   * Send a message to the game, and wait for its answer.
   *
   * @template {keyof G["requests"] & string} M
   * @param {M} message The name of a typed message, or any text.
   * @param {G["requests"][M]} [payload] The fields of the typed message, or whatever belongs to the text.
   * @returns {Promise<AnswerTo<G, M>>}
   * @throws {Rejected} The game refuses it.
   * @throws {CodecError} Something in it cannot travel.
   * @throws {SessionLost} Nobody knows whether it was carried out.
   * @throws {Disconnected} There is no connection, or it ended before the answer came.
   */
  async call(message, payload) {
    return /** @type {any} */ (accepted(await this.#run.request(message, payload ?? {})));
  }

  /**
   * The same, for a program that looks at the status itself: no answer is thrown.
   *
   * @template {keyof G["requests"] & string} M
   * @param {M} message The name of a typed message, or any text.
   * @param {G["requests"][M]} [payload] What belongs to it.
   * @returns {Promise<Answer>}
   */
  async request(message, payload) {
    return await this.#run.request(message, payload ?? {});
  }

  /**
   * Send a message to the game, and ask for no answer. It never waits.
   *
   * @template {keyof G["requests"] & string} M
   * @param {M} message The name of a typed message, or any text.
   * @param {G["requests"][M]} [payload] What belongs to it.
   * @throws {CodecError} Something in it cannot travel.
   * @throws {QueueFull} Too much waits already.
   * @throws {Disconnected} There is no connection.
   */
  tell(message, payload) {
    this.#run.tell(message, payload ?? {});
  }

  /**
   * Call a function whenever something happens, in the order in which things happen.
   *
   * A listener that comes late is told what is current and was missed: of `state`, `players`,
   * `question` (each that is open) and `push` (those that nobody has read).
   *
   * @template {keyof ClientEvents<G>} E
   * @param {E} event What happens.
   * @param {(value: ClientEvents<G>[E]) => void} listener The function. What it throws is reported as
   *     any other error of the page, and changes nothing here.
   * @returns {() => void} Call it to listen no more.
   * @throws {CodecError} There is no such event, or the listener is no function.
   */
  on(event, listener) {
    if (!Object.hasOwn(EVENTS, event)) {
      throw new CodecError(`on: expected one of the events ${Object.keys(EVENTS).join(", ")}, got ${String(event)}`);
    }
    if (typeof listener !== "function") {
      throw new CodecError(`on: expected a function that listens to ${event}, got ${kindOf(listener)}`);
    }
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    // The caller gets its way to stop before the first call. What happens meanwhile waits too.
    let isReady = false;
    const waiting = /** @type {any[]} */ (this.#run.view.missed(event));
    const own = (/** @type {any} */ value) => (isReady ? listener(value) : void waiting.push(value));
    listeners.add(own);
    queueMicrotask(() => {
      isReady = true;
      for (const value of waiting) if (listeners.has(own)) this.#tell(listener, value);
    });
    return () => void listeners.delete(own);
  }

  /**
   * Iterate over the states of the game: the latest one, then each newer one, until the user is out of
   * the game. A slow loop skips states.
   *
   * @returns {AsyncIterableIterator<G["state"]>}
   */
  states() {
    return read(() => this.#run.view, latestStates());
  }

  /**
   * Iterate over what the game pushes, in the order of arrival, until the user is out of the game.
   *
   * @template {keyof G["pushes"] & string} M
   * @param {...M} messages Only pushes with these messages; none for all.
   * @returns {AsyncIterableIterator<Push<G, M>>}
   */
  pushes(...messages) {
    return read(
      () => this.#run.view,
      /** @type {any} */ (itemsOf(({ pushes }) => pushes, messages)),
    );
  }

  /**
   * Iterate over what the game asks this player, until the user is out of the game.
   *
   * @template {keyof G["questions"] & string} M
   * @param {...M} messages Only questions with these messages; none for all.
   * @returns {AsyncIterableIterator<Asked<G, M>>}
   */
  questions(...messages) {
    return read(
      () => this.#run.view,
      /** @type {any} */ (itemsOf(({ questions }) => questions, messages)),
    );
  }

  #makeRun() {
    const { username, password = "", inviteCode = "", serverKey = "", reconnectFor, netcode } = this.#options;
    const account = { urls: this.#urls, username, password, inviteCode, serverKey, netcode };
    return new Run(this.#environment, account, reconnectFor, (event, value) => {
      const listeners = [...(this.#listeners.get(event) ?? [])];
      for (const listener of listeners) this.#tell(listener, value);
      return listeners.length > 0;
    });
  }

  /**
   * @param {(value: any) => void} listener
   * @param {unknown} value
   */
  #tell(listener, value) {
    try {
      listener(value);
    } catch (error) {
      this.#environment.report(error);
    }
  }

  /**
   * @param {string} message
   * @param {string} name
   * @param {Record<string, any>} more
   */
  async #enter(message, name, more) {
    if (typeof name !== "string") throw new CodecError(`name: expected the name of a game, got ${kindOf(name)}`);
    const given = Object.entries(more).filter(([, value]) => value !== undefined && value !== "");
    return accepted(await this.#run.request(message, { name, ...Object.fromEntries(given) }, true));
  }
}

/** @param {Answer} answer */
function accepted(answer) {
  if (answer.status !== 0) throw new Rejected(answer);
  return answer;
}

/**
 * @param {string} name
 * @param {any} info
 * @returns {GameInfo}
 */
function readGameInfo(name, info) {
  if (typeof info !== "object" || info === null) throw new ProtocolError("a directory has a game that is none");
  return {
    name,
    users: Number(info.users),
    passwordProtected: info.password_protected === true,
    info: String(info.info ?? ""),
    maxPlayers: info.max_players ?? null,
    locked: info.locked === true,
    options: info.options ?? {},
  };
}
