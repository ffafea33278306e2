/**
 * One run of a client: from one connect to the next. It is the owner that `Session` and `GameView`
 * tell what happens.
 *
 * @import { Answer } from "./errors.js"
 * @import { Environment } from "./environment.js"
 * @import { Response, Sized } from "./envelopes.js"
 * @import { Account } from "./session.js"
 * @module
 */

import * as wire from "./envelopes.js";
import { Disconnected, PGNetError, ProtocolError, Rejected, SessionLost, TakenOver } from "./errors.js";
import { Outbox } from "./outbox.js";
import { Session, sentence } from "./session.js";
import { GameView } from "./view.js";
import { CREATE_GAME, JOIN_GAME, WayBack } from "./way_back.js";

/** The code of the end that the program itself has wanted. */
export const CLOSED_HERE = "closed_here";

/**
 * Calls the listeners of an event, and says whether there are any.
 *
 * @typedef {(event: string, value: unknown) => boolean} Emit
 */

/** What a client is from one connect to the next: made whole, and used once. */
export class Run {
  #emit;
  #account;
  #outbox = new Outbox();
  #session;
  #wayBack = new WayBack();
  #logsInAgain = false;
  /** @type {{resolve: () => void, reject: (error: PGNetError) => void} | null} */
  #connecting = null;

  /**
   * @param {Environment} environment Sockets, clocks and timers.
   * @param {Account} account Who logs in, and where.
   * @param {number | undefined} reconnectFor Seconds for which it tries to replace a dropped connection.
   * @param {Emit} emit Calls the listeners of an event.
   */
  constructor(environment, account, reconnectFor, emit) {
    this.#emit = emit;
    this.#account = account;
    this.#session = new Session(environment, account, this.#outbox, this, reconnectFor);
    /** What the server told of the game. */
    this.view = new GameView(environment, {
      emit,
      requestFullState: () => this.#session.requestFullState(),
      answer: (question, message, payload) => this.#answer(question, message, payload),
    });
    account.netcode?.begin({
      username: account.username,
      now: environment.now,
      slept: environment.slept,
      isOpen: () => this.online && this.features.has("netcode"),
      plays: () => this.view.players.has(account.username),
      flush: () => this.#session.flush(),
    });
    /** Whether it has begun. */
    this.isUsed = false;
    /** Whether the user is logged in, also while a dropped connection is replaced. */
    this.connected = false;
    /** Whether there is a connection now. */
    this.online = false;
    /**
     * The game that the user is in.
     *
     * @type {string | null}
     */
    this.game = null;
    /** How things are, for people. */
    this.status = "New client.";
    /**
     * Why the session ended; null before that.
     *
     * @type {PGNetError | null}
     */
    this.endError = null;
  }

  /** The server's key in base64; empty before it is known. */
  get serverKey() {
    return this.#session.serverKey;
  }

  /** The features that are in use. */
  get features() {
    return this.#session.features;
  }

  /** Connect and log in. */
  connect() {
    this.isUsed = true;
    /** @type {Promise<void>} */
    const opened = new Promise((resolve, reject) => (this.#connecting = { resolve, reject }));
    this.#session.start();
    return opened;
  }

  /**
   * End the session.
   *
   * @param {PGNetError} error Why.
   */
  end(error) {
    this.#session.end(error);
  }

  /**
   * Send a request, and return the answer whatever its status.
   *
   * @param {string} message What is asked.
   * @param {object} payload What belongs to it.
   * @param {boolean} [doNext] Whether it goes before everything else that waits.
   * @returns {Promise<Answer>}
   */
  async request(message, payload, doNext = false) {
    this.#checkConnected();
    return await this.#send(wire.encodeRequest(message, payload, false), doNext, (answer) => {
      if (answer.status === 0 && (message === CREATE_GAME || message === JOIN_GAME)) {
        this.#wayBack.noteJoined(payload, answer, this.#session.features);
      }
    });
  }

  /**
   * Send a request that nobody wants the answer of; never waits.
   *
   * @param {string} message What is asked.
   * @param {object} payload What belongs to it.
   */
  tell(message, payload) {
    this.#checkConnected();
    this.#outbox.put({ body: wire.encodeRequest(message, payload, true), quiet: true });
    this.#session.flush();
  }

  // What the session tells: see `SessionOwner`.

  /** @param {string} status How things are. */
  setStatus(status) {
    this.status = status;
    this.#emit("status", status);
  }

  /** @param {boolean} again Whether the server forgot an earlier session. */
  sessionOpened(again) {
    this.connected = this.online = true;
    this.#logsInAgain = false;
    this.#emit("connection", true);
    // Whoever was told may have ended the session.
    if (this.endError) return;
    this.setStatus(`Logged in as ${this.#account.username}.`);
    const payload = again ? this.#wayBack.payload(this.#session.features) : null;
    if (payload) this.#rejoin(payload);
    this.#outbox.isHeld = false;
    this.#connecting?.resolve();
    this.#connecting = null;
  }

  /** @param {SessionLost} error What has happened. */
  sessionLost(error) {
    this.view.lose(error);
    this.#outbox.failAll(error);
    this.connected = false;
    this.#logsInAgain = true;
    // The request that leads back into the game goes before all that is asked from here on.
    this.#outbox.isHeld = true;
    this.#emit("connection", false);
    // After a take-over, this client does not know how the other one got in.
    if (!this.#wayBack.isKnown && this.game !== null) this.#bePutOut(error.message);
  }

  /**
   * @param {boolean} online Whether there is a connection.
   * @param {boolean} restarting Whether the server has said that it restarts.
   */
  onlineChanged(online, restarting) {
    this.online = online;
    this.#emit("online", online);
    if (this.endError) return;
    if (online) this.setStatus("Online again.");
    else if (restarting) this.setStatus("The server restarts; coming back...");
    else this.setStatus("The connection dropped; coming back...");
  }

  /** @param {Sized} sized Something that the server sent. */
  takeEvent({ envelope, size }) {
    try {
      if (envelope.kind === wire.RESPONSE) this.#takeResponse(envelope);
      else if (envelope.kind === wire.SEARCH) this.#takeSearch(envelope.fields);
      else if ("values" in envelope) this.#account.netcode?.take(envelope.kind, envelope.values, this.view.sureState);
      else this.view.take(envelope, size);
      if (envelope.kind === wire.PUSH && envelope.message === wire.PLAYERS) this.#noteWatching();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.end(error);
      return;
    }
    if (envelope.kind === wire.GAME) {
      if (envelope.name === null) this.#wayBack.forget();
      this.#setGame(envelope.name, envelope.time);
    }
  }

  /** @param {any[]} fields */
  #takeSearch(fields) {
    const [, state, , , , , , , options] = fields;
    if (state === "joined" && this.game !== null) {
      this.#wayBack.noteJoined({ name: this.game }, { payload: { options } }, this.#session.features);
    }
    this.#emit("search", fields);
  }

  /** @param {PGNetError} error Why the session is over. */
  sessionEnded(error) {
    this.endError = error;
    this.#logsInAgain = false;
    const isWanted = error.code === CLOSED_HERE;
    const ending = error instanceof Disconnected ? error : new Disconnected(error.message, error.code, { cause: error });
    this.#outbox.failAll(ending);
    // A program that wanted the end has lost nothing: its iterators just stop.
    const { connected, game } = this;
    const hadPlayers = this.view.players.size > 0;
    this.view.end(isWanted ? null : ending);
    this.game = null;
    this.connected = this.online = false;
    if (connected) this.#emit("connection", false);
    if (hadPlayers) this.#emit("players", this.view.players);
    if (game !== null) this.#emit("game", null);
    this.setStatus(
      error instanceof TakenOver
        ? "You logged in from elsewhere; this page is out of the game."
        : sentence(`Disconnected: ${error.message}`),
    );
    this.#connecting?.reject(error);
    this.#connecting = null;
    this.#emit("end", error);
  }

  /** @param {Response} envelope */
  #takeResponse({ id, message, payload, status, createdOn, code }) {
    this.#outbox.take(id)?.succeed?.({ message, payload, status, createdOn, code });
  }

  /**
   * @param {Uint8Array} body
   * @param {boolean} doNext
   * @param {(answer: Answer) => void} [note] Called with the answer at once, before whoever waits.
   * @param {boolean} [isFirst]
   * @returns {Promise<Answer>}
   */
  #send(body, doNext, note, isFirst) {
    return new Promise((resolve, reject) => {
      const succeed = (/** @type {Answer} */ answer) => {
        note?.(answer);
        resolve(answer);
      };
      this.#outbox.put({ body, quiet: false, succeed, fail: reject }, doNext, isFirst);
      this.#session.flush();
    });
  }

  /** @param {Record<string, any>} payload */
  #rejoin(payload) {
    const body = wire.encodeRequest(JOIN_GAME, payload, false);
    const note = (/** @type {Answer} */ answer) => {
      if (answer.status === 0) this.#wayBack.noteJoined(payload, answer, this.#session.features);
      // Refused: the user is out of the game.
      else this.#bePutOut(answer.message);
    };
    this.#send(body, true, note, true).catch(() => {
      // The session is over, or lost once more, and whoever waits was told.
    });
  }

  /**
   * @param {number} question
   * @param {string} message
   * @param {object} payload
   */
  async #answer(question, message, payload) {
    this.#checkConnected();
    let wasOpen = true;
    const answer = await this.#send(wire.encodeAnswer(question, message, payload), false, ({ status }) => {
      wasOpen = this.view.waitsFor(question);
      if (status === 0) this.view.closeQuestion(question);
    });
    if (answer.status !== 0 && wasOpen) throw new Rejected(answer);
    return answer;
  }

  /** @param {string} message */
  #bePutOut(message) {
    this.#wayBack.forget();
    const time = this.view.clock.time();
    this.view.take({ kind: wire.GAME, name: null, heartbeatRate: 0, time, reason: "closed", message }, 0);
    this.#setGame(null);
  }

  /**
   * @param {string | null} game
   * @param {number} [time] The time in its room.
   */
  #setGame(game, time = 0) {
    this.#account.netcode?.entered(game === null ? null : time);
    if (game === this.game) return;
    this.game = game;
    this.setStatus(game === null ? "In no game." : inGame(game));
    if (!this.endError) this.#emit("game", game);
  }

  /** Say so where the user only watches: the list of the players, which comes next, has not got them. */
  #noteWatching() {
    const { game } = this;
    if (game === null || this.status !== inGame(game) || this.view.players.has(this.#account.username)) return;
    this.setStatus(`Watching the game ${game}.`);
  }

  #checkConnected() {
    if (this.connected || this.#logsInAgain) return;
    if (this.endError) throw new Disconnected(this.endError.message, this.endError.code, { cause: this.endError });
    throw new Disconnected("this client is not connected: await connect() first", "not_connected");
  }
}

/** @param {string} game */
function inGame(game) {
  return `In the game ${game}.`;
}
