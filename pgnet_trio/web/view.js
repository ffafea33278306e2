/**
 * What a client knows of the game that its user is in: pushes, questions, states, players.
 *
 * @import { Envelope, GameEnvelope, PatchEnvelope, QuestionEnvelope } from "./envelopes.js"
 * @import { Answer, PGNetError } from "./errors.js"
 * @import { Environment } from "./environment.js"
 * @import { Left, Push } from "./types.js"
 * @module
 */

import { applyColumns, growth } from "./columns.js";
import * as wire from "./envelopes.js";
import { CodecError, ProtocolError, SessionLost } from "./errors.js";
import { Feed, LatestFeed } from "./feeds.js";
import { encode } from "./msgpack.js";
import { apply } from "./patch.js";
import { Question } from "./questions.js";
import { RoomClock } from "./room_clock.js";

// What no game needs: a server that sends more ends the session.
const MAX_QUESTIONS = 1024;
const MAX_QUESTIONS_SIZE = 2 * 1024 * 1024;
const MAX_STATE_SIZE = 1024 * 1024;
const MAX_PLAYERS_SIZE = 1024 * 1024;
const PLAYER_SIZE = 16;

/**
 * What a view needs of the run that it belongs to.
 *
 * @typedef {object} ViewOwner
 * @property {(event: string, value: unknown) => boolean} emit Calls the listeners of an event, and says
 *     whether there are any.
 * @property {() => void} requestFullState Asks for the whole state, since a patch does not fit.
 * @property {(question: number, message: string, payload: object) => Promise<Answer>} answer Answers a
 *     question; throws `Rejected` where the game refuses it.
 */

/**
 * A question that has no answer yet.
 *
 * @typedef {object} OpenQuestion
 * @property {Question} question The question.
 * @property {AbortController} stop Ends it.
 * @property {number} deadline The time of the room until which an answer counts.
 * @property {number} size Its bytes.
 * @property {() => void} stopTimer Stops the timer of its deadline.
 */

/** What one game has told, for a program that may read it later. */
export class GameFeeds {
  /** @type {Feed<Push>} */
  pushes = new Feed("pushes");
  /** @type {Feed<Question>} */
  questions = new Feed("questions");
  states = new LatestFeed();
  /** How many pushes there were when listeners were told of one the last time. */
  pushesTold = 0;

  /** @param {PGNetError | null} error What readers throw; null where they just stop. */
  end(error) {
    this.pushes.end(error);
    this.questions.end(error);
    this.states.end(error);
  }
}

/** Takes in what the server tells of a game, and keeps it for those who read it. */
export class GameView {
  #environment;
  #owner;
  /** @type {string | null} */
  #name = null;
  // Those of a game that has put the user out, until the next game: a program that has not read them
  // to the end yet begins there.
  /** @type {GameFeeds | null} */
  #over = null;
  #now = new GameFeeds();
  /** @type {Map<number, OpenQuestion>} */
  #questions = new Map();
  #questionsSize = 0;
  #stateVersion = 0;
  #stateSize = 0;
  #stateWanted = false;

  /**
   * @param {Environment} environment Clocks and timers.
   * @param {ViewOwner} owner Makes the calls, and asks the server.
   */
  constructor(environment, owner) {
    this.#environment = environment;
    this.#owner = owner;
    /**
     * The players in the order of joining, and whether each is connected.
     *
     * @type {Map<string, boolean>}
     */
    this.players = new Map();
    /**
     * How the user got out of the last game.
     *
     * @type {Left | null}
     */
    this.left = null;
    /** How many pushes of the game the server has dropped. */
    this.lostPushes = 0;
    /** The time in the game's room. */
    this.clock = new RoomClock(environment.now, environment.slept);
  }

  /** The latest state; undefined where there is none. */
  get state() {
    return this.#now.states.data;
  }

  /** The same, unless the server's latest one has not come, because a patch did not fit. */
  get sureState() {
    return this.#stateWanted ? undefined : this.state;
  }

  /** What is told now. */
  get current() {
    return this.#now;
  }

  /**
   * Return the feeds that a new reader begins with.
   *
   * @param {(feeds: GameFeeds) => boolean} isRead Says whether another has read the end of them.
   */
  toRead(isRead) {
    return this.#over && !isRead(this.#over) ? this.#over : this.#now;
  }

  /**
   * Take in something that the server sent.
   *
   * @param {Envelope} envelope What it is.
   * @param {number} size Its bytes.
   */
  take(envelope, size) {
    if (this.#questions.size && this.clock.noteSleep()) this.#setDeadlines();
    switch (envelope.kind) {
      case wire.STATE:
      case wire.LAST_STATE:
        this.#takeState(envelope.version, envelope.data, size);
        break;
      case wire.PATCH:
      case wire.COLUMN_PATCH:
        this.#takePatch(envelope, size);
        break;
      case wire.PUSH:
        if (envelope.message === wire.PLAYERS) this.#takePlayers(envelope.payload);
        else if (envelope.message.startsWith(wire.RESERVED)) {
          const { payload } = envelope;
          if (envelope.message === wire.ANNOUNCEMENT) this.#owner.emit("announcement", String(payload.text));
          else if (envelope.message === wire.INVITATION) this.#owner.emit("invitation", payload);
        } else {
          const push = { message: envelope.message, payload: envelope.payload };
          this.#now.pushes.put(push, size);
          if (this.#owner.emit("push", push)) this.#now.pushesTold = this.#now.pushes.count;
        }
        break;
      case wire.LOST:
        this.lostPushes += envelope.count;
        this.#owner.emit("lostPushes", envelope.count);
        break;
      case wire.GAME:
        this.#takeGame(envelope);
        break;
      case wire.QUESTION:
        this.#takeQuestion(envelope, size);
        break;
      case wire.WITHDRAWAL:
        this.closeQuestion(envelope.id);
    }
  }

  /**
   * Return what a listener that came only now has missed.
   *
   * @param {string} event What it listens to.
   * @returns {unknown[]}
   */
  missed(event) {
    switch (event) {
      case "state":
        return this.#now.states.count ? [this.state] : [];
      case "players":
        return this.players.size ? [this.players] : [];
      case "push": {
        const missed = [];
        for (const feeds of [this.#over, this.#now]) {
          if (feeds) {
            missed.push(...feeds.pushes.unreadAfter(feeds.pushesTold));
            feeds.pushesTold = feeds.pushes.count;
          }
        }
        return missed;
      }
      case "question":
        return [...this.#questions.values()].map(({ question }) => question);
    }
    return [];
  }

  /**
   * End all readers, and start anew: the server forgot the session.
   *
   * @param {SessionLost} error What has happened.
   */
  lose(error) {
    this.#leave(error);
  }

  /**
   * Let readers read what is there, and then stop, or throw: the session ended.
   *
   * @param {PGNetError | null} error What they throw.
   */
  end(error) {
    this.#endGame(error);
    this.players = new Map();
    this.#name = null;
  }

  /**
   * Close a question that is no longer open.
   *
   * @param {number} id Its number.
   */
  closeQuestion(id) {
    const closed = this.#questions.get(id);
    if (!closed) return;
    this.#questions.delete(id);
    this.#questionsSize -= closed.size;
    this.#now.questions.remove(closed.question);
    closed.stopTimer();
    closed.stop.abort();
  }

  /**
   * Return whether the game waits for an answer to a question of this number.
   *
   * @param {number} id The number.
   */
  waitsFor(id) {
    return this.#questions.has(id);
  }

  /**
   * Return whether the game waits for an answer to a question, as far as it has said.
   *
   * @param {Question} question The question.
   */
  isOpen(question) {
    return this.#questions.get(question.id)?.question === question;
  }

  /**
   * Return the seconds until the time for an answer is up.
   *
   * @param {Question} question The question.
   */
  secondsLeft(question) {
    if (this.clock.noteSleep()) this.#setDeadlines();
    const open = this.#questions.get(question.id);
    if (open?.question !== question) return 0;
    return Math.max(0, this.clock.local(open.deadline) - this.#environment.now());
  }

  /**
   * Answer a question.
   *
   * @param {Question} question The question.
   * @param {string} message The answer.
   * @param {object} payload What belongs to it.
   */
  answer(question, message, payload) {
    return this.#owner.answer(question.id, message, payload);
  }

  #setDeadlines() {
    for (const open of this.#questions.values()) this.#setDeadline(open);
  }

  /** @param {OpenQuestion} open */
  #setDeadline(open) {
    open.stopTimer();
    if (open.deadline === Infinity) return;
    const left = this.clock.local(open.deadline) - this.#environment.now();
    open.stopTimer = this.#environment.startTimer(Math.max(0, left), () => open.stop.abort());
  }

  /** @param {PGNetError | null} error */
  #endGame(error) {
    this.#now.end(error);
    for (const open of this.#questions.values()) {
      open.stopTimer();
      open.stop.abort();
    }
  }

  /** @param {PGNetError | null} error */
  #leave(error) {
    this.#endGame(error);
    const hadPlayers = this.players.size > 0;
    this.#over = null;
    this.#now = new GameFeeds();
    this.#questions = new Map();
    this.#questionsSize = this.#stateVersion = this.#stateSize = this.lostPushes = 0;
    this.#stateWanted = false;
    this.players = new Map();
    if (hadPlayers) this.#owner.emit("players", this.players);
  }

  /** @param {GameEnvelope} envelope */
  #takeGame(envelope) {
    if (envelope.name === null) {
      const { reason, message } = envelope;
      const wasIn = this.#name;
      const over = this.#now;
      for (const id of [...this.#questions.keys()]) this.closeQuestion(id);
      this.#leave(null);
      this.#name = null;
      if (wasIn !== null) {
        // A game that has put the user out may be over before anything of it was read.
        if (reason !== "left") this.#over = over;
        this.left = { game: wasIn, reason, message };
        this.#owner.emit("left", this.left);
      }
    } else {
      this.clock.begin(envelope.time);
      this.#over = null;
      this.#name = envelope.name;
    }
  }

  /**
   * @param {number} version
   * @param {any} data
   * @param {number} size
   */
  #takeState(version, data, size) {
    if (size > MAX_STATE_SIZE) {
      // Patches may replace each other: their sizes only say when to measure.
      size = encode(data).length;
      check("bytes of a state", size, MAX_STATE_SIZE);
    }
    this.#stateSize = size;
    this.#stateVersion = version;
    this.#stateWanted = false;
    this.#now.states.put(data);
    this.#owner.emit("state", data);
  }

  /**
   * @param {PatchEnvelope} envelope
   * @param {number} size
   */
  #takePatch({ kind, base, version, patch }, size) {
    if (base === this.#stateVersion && this.#now.states.count) {
      let data;
      try {
        data = kind === wire.COLUMN_PATCH ? applyColumns(this.state, patch) : apply(this.state, patch);
      } catch (error) {
        if (!(error instanceof CodecError)) throw error;
      }
      if (data !== undefined) {
        const growing = kind === wire.COLUMN_PATCH ? growth(patch) : 0;
        this.#takeState(version, data, this.#stateSize + size + growing);
        return;
      }
    }
    if (!this.#stateWanted) {
      this.#stateWanted = true;
      this.#owner.requestFullState();
    }
  }

  /** @param {Map<string, any>} payload */
  #takePlayers(payload) {
    const changes = payload.get("players") ?? new Map();
    if (!(changes instanceof Map) && !Array.isArray(changes)) throw new ProtocolError("players: expected a map");
    const players = payload.get("all") ? new Map() : new Map(this.players);
    for (const change of changes) {
      if (!Array.isArray(change)) throw new ProtocolError("players: expected names, each with a value");
      const [name, online] = change;
      if (online === null) players.delete(name);
      else players.set(String(name), online === true);
    }
    const entries = (/** @type {Map<string, boolean>} */ map) => JSON.stringify([...map]);
    // Whoever joined while this client was away may have left again.
    if (entries(players) === entries(this.players)) return;
    let size = 0;
    for (const name of players.keys()) size += name.length + PLAYER_SIZE;
    check("bytes of a game's players", size, MAX_PLAYERS_SIZE);
    this.players = players;
    this.#owner.emit("players", players);
  }

  /**
   * @param {QuestionEnvelope} envelope
   * @param {number} size
   */
  #takeQuestion({ id, message, payload, deadline, time }, size) {
    const until = deadline ?? Infinity;
    let isChanged = this.clock.learn(time);
    if (this.clock.local(until) <= this.#environment.now() && until > time) {
      // The time would be up before the question came: the room's clock has stood still.
      this.clock.begin(time);
      isChanged = true;
    }
    const stop = new AbortController();
    const question = new Question(id, message, payload, stop, this);
    this.closeQuestion(id);
    const open = { question, stop, deadline: until, size, stopTimer: () => {} };
    this.#questions.set(id, open);
    this.#questionsSize += size;
    check("open questions", this.#questions.size, MAX_QUESTIONS);
    check("bytes of open questions", this.#questionsSize, MAX_QUESTIONS_SIZE);
    if (isChanged) this.#setDeadlines();
    else this.#setDeadline(open);
    this.#now.questions.put(question, size);
    this.#owner.emit("question", question);
  }
}

/**
 * @param {string} what
 * @param {number} value
 * @param {number} limit
 */
function check(what, value, limit) {
  if (value > limit) throw new ProtocolError(`${what}: expected at most ${limit}, got ${value}`);
}
