/**
 * The life of a client's session: connecting, logging in, and coming back after a drop.
 *
 * @import { Moved, Sized } from "./envelopes.js"
 * @import { Environment } from "./environment.js"
 * @import { Outbox } from "./outbox.js"
 * @import { NetcodePart } from "./types.js"
 * @module
 */

import { Backoff, CONNECT_TIMEOUT, REACH_TIMEOUT } from "./backoff.js";
import { Connection } from "./connection.js";
import { Delivery } from "./delivery.js";
import * as wire from "./envelopes.js";
import {
  ConnectFailed,
  Disconnected,
  LoginRefused,
  PGNetError,
  ProtocolError,
  ServerKeyMismatch,
  SessionLost,
  TakenOver,
} from "./errors.js";
import { Protocol } from "./protocol.js";
import { Route } from "./route.js";

// Seconds for which a client goes on trying while the server shows another key than the first.
// Whoever can answer every try for this long could as well cut the connection.
const MISMATCH_PATIENCE = 5;

// Seconds for which a session tries to come back where neither its program nor its server says.
const DEFAULT_RECONNECT = 60;

const TAKEN_OVER = "taken over";

/**
 * Who logs in, and where.
 *
 * @typedef {object} Account
 * @property {string[]} urls Where the server is, or several that look like one.
 * @property {string} username The user.
 * @property {string} password Their password.
 * @property {string} inviteCode An invite for a new user, or empty.
 * @property {string} serverKey The only key of a server to take; empty for any.
 * @property {NetcodePart | undefined} netcode What the page was given for games in real time.
 */

/**
 * What a session tells.
 *
 * @typedef {object} SessionOwner
 * @property {(status: string) => void} setStatus How things are, in words for people.
 * @property {(again: boolean) => void} sessionOpened The user is logged in; `again` where the server
 *     forgot an earlier session.
 * @property {(error: SessionLost) => void} sessionLost The server forgot the session, and all that was
 *     under way in it. The session is about to log in anew.
 * @property {(online: boolean, restarting: boolean) => void} onlineChanged The connection dropped,
 *     because the server restarts or for another reason; or there is one again.
 * @property {(sized: Sized) => void} takeEvent The server has sent this.
 * @property {(error: PGNetError) => void} sessionEnded The session is over, and nothing more comes.
 */

/** One user's session at one server, over one connection after the other. */
export class Session {
  #environment;
  #account;
  #outbox;
  #owner;
  #route;
  // Whether the server says how long to try, and the program does not.
  #isTold;
  #reconnectFor;
  #backoff;
  #delivery;
  /** @type {Connection | null} */
  #connection = null;
  #stopTimer = () => {};
  #stopWatching = () => {};
  #token = new Uint8Array();
  // Stands for the password, so that a server that was restarted need not hash it.
  #loginToken = new Uint8Array();
  // Whether the server forgot the session, and the next log-in has to tell the owner so.
  #isLost = false;
  // Whether this connection is logged in; and whether any was.
  #isOpen = false;
  #wasOpen = false;
  // Whether the owner was told that there is no connection.
  #isOffline = false;
  // The only key that any of the servers may have; empty where it is not known yet.
  #knownKey;
  // What went wrong at each address since they were all to be tried, and whether to ask again: one said
  // "not now", or sent this client to where nobody let it in.
  /** @type {PGNetError[]} */
  #failures = [];
  #isNotNow = false;
  // After how many seconds a server has sent this client to where the last try was; -1 where none has.
  #sentAfter = -1;
  // Whether the page was left: a page that is kept for its return must not try to come back.
  #isSuspended = false;
  // Whether a timer for the next try runs.
  #isPausing = false;
  #openedAt = 0;
  /** @type {number[]} */
  #progressBefore = [];
  #mismatchedSince = Infinity;
  #triedAt = 0;

  /**
   * @param {Environment} environment Sockets, clocks and timers.
   * @param {Account} account Who logs in, and where.
   * @param {Outbox} outbox What waits to be sent.
   * @param {SessionOwner} owner Whom the session tells what happens.
   * @param {number} [reconnectFor] Seconds for which it tries to replace a dropped connection; left out,
   *     they are what the server says.
   */
  constructor(environment, account, outbox, owner, reconnectFor) {
    this.#environment = environment;
    this.#account = account;
    this.#outbox = outbox;
    this.#owner = owner;
    this.#route = new Route(account.urls, environment.randomBytes);
    this.#knownKey = account.serverKey;
    this.#isTold = reconnectFor === undefined;
    this.#reconnectFor = reconnectFor ?? DEFAULT_RECONNECT;
    this.#backoff = new Backoff(this.#reconnectFor);
    this.#delivery = this.#makeDelivery();
    /** Whether it is over. */
    this.ended = false;
    /** The server's key in base64; empty before it is known. */
    this.serverKey = "";
  }

  /** The features that are in use on this connection. */
  get features() {
    return this.#connection?.protocol?.features ?? new Set();
  }

  /** Connect for the first time. */
  start() {
    this.#stopWatching = this.#environment.watchPage({
      hide: () => this.#suspend(),
      show: () => this.#resume(),
      wake: () => this.#wake(),
    });
    this.#backoff.noteDrop(this.#environment.now());
    this.#try();
  }

  /** Send what waits, as far as the window has room. */
  flush() {
    if (this.#isOpen) this.#connection?.flush();
  }

  /** Ask for the whole state, since a patch does not fit. */
  requestFullState() {
    this.#connection?.protocol?.requestFullState();
    this.flush();
  }

  /**
   * End the session for good, and tell the server, which frees the user's seat.
   *
   * @param {PGNetError} error Why.
   */
  end(error) {
    if (this.ended) return;
    this.ended = true;
    this.#stopTimer();
    this.#stopWatching();
    const connection = this.#connection;
    this.#connection = null;
    if (connection) {
      connection.protocol?.goodbye(error.message);
      connection.flush();
      connection.close();
    }
    this.#isOpen = false;
    this.#owner.sessionEnded(error);
  }

  /** @param {Sized[]} events */
  #received(events) {
    const connection = this.#connection;
    for (const sized of events) {
      // Something before it in the same frame may have ended the session, or the connection.
      if (this.ended || this.#connection !== connection) return;
      if (!this.#isOpen) this.#takeVerdict(sized);
      else if (sized.envelope.kind === wire.GOODBYE) this.end(endedBy(sized.envelope));
      else if (sized.envelope.kind === wire.RESTART) this.#drop(true);
      else if (sized.envelope.kind === wire.MOVED) this.#move(sized.envelope);
      else this.#owner.takeEvent(sized);
    }
  }

  /** @param {PGNetError} error */
  #lost(error) {
    if (!this.#isOpen) this.#fail(error);
    else if (error instanceof ProtocolError) this.end(error);
    else this.#drop(false, error);
  }

  #makeDelivery() {
    return new Delivery(() => this.#outbox.next());
  }

  #try() {
    this.#isPausing = false;
    this.#triedAt = this.#environment.now();
    if (!this.#wasOpen) this.#owner.setStatus(`Connecting to ${this.#route.current}...`);
    if (this.ended) return;
    const timeout = this.#token.length ? this.#backoff.resumeTimeout : CONNECT_TIMEOUT;
    // Do not wait long for an address that is silent while there are others.
    const first = this.#route.hasOthers ? Math.min(timeout, REACH_TIMEOUT) : timeout;
    this.#startTimeout(first, timeout - first);
    try {
      this.#connection = new Connection(this.#environment, this.#route.current, () => this.#makeProtocol(), {
        received: (events) => this.#received(events),
        ended: (error) => this.#lost(error),
      });
    } catch (error) {
      if (!(error instanceof ConnectFailed)) throw error;
      this.#fail(error);
    }
  }

  /**
   * @param {number} seconds
   * @param {number} [more] Seconds more, once the socket is open.
   */
  #startTimeout(seconds, more = 0) {
    this.#stopTimer();
    this.#stopTimer = this.#environment.startTimer(seconds, () => {
      if (more && this.#connection?.protocol) {
        this.#startTimeout(more);
        return;
      }
      this.#backoff.noteTimeout();
      const waited = Math.round(this.#environment.now() - this.#triedAt);
      this.#connection?.close();
      this.#fail(new ConnectFailed(`${this.#route.current} did not answer within ${waited} s`, "timeout"));
    });
  }

  #makeProtocol() {
    const { username, password, inviteCode, netcode } = this.#account;
    return new Protocol(
      {
        username,
        password,
        inviteCode,
        serverKey: this.#knownKey,
        token: this.#token,
        loginToken: this.#loginToken,
        randomBytes: this.#environment.randomBytes,
        netcode,
      },
      this.#delivery,
    );
  }

  /** @param {Sized} sized */
  #takeVerdict({ envelope }) {
    const protocol = /** @type {Protocol} */ (this.#connection?.protocol);
    this.#noteKey();
    switch (envelope.kind) {
      case wire.REFUSAL:
        this.end(isTakenOver(envelope) ? endedBy(envelope) : new LoginRefused(envelope.reason, envelope.code || undefined));
        return;
      case wire.GOODBYE:
        this.#connection?.close();
        this.#fail(
          new ConnectFailed(`the server cannot let this client in now: ${envelope.reason}`, envelope.code || "not_now"),
          true,
        );
        return;
      case wire.MOVED:
        this.#connection?.close();
        this.#follow(envelope);
        return;
      case wire.SESSION_GONE:
        if (this.#token.length) this.#loseSession(envelope.reason, envelope.code);
        else this.#loginToken = new Uint8Array();
        if (this.ended) return;
        protocol.logIn(this.#delivery);
        this.#startTimeout(CONNECT_TIMEOUT);
        return;
      case wire.WELCOME:
        this.#token = /** @type {Uint8Array<ArrayBuffer>} */ (envelope.token);
        if (this.#isTold && envelope.times) {
          this.#reconnectFor = this.#backoff.reconnectFor = envelope.times.reconnectFor;
        }
        if (envelope.loginToken.length) {
          this.#loginToken = /** @type {Uint8Array<ArrayBuffer>} */ (envelope.loginToken);
        }
    }
    this.#open(protocol, envelope.kind === wire.RESUMED);
  }

  /**
   * @param {Protocol} protocol
   * @param {boolean} isResumed
   */
  #open(protocol, isResumed) {
    this.#stopTimer();
    this.serverKey = protocol.serverKey;
    this.#outbox.maxEnvelope = protocol.maxEnvelope;
    this.#account.netcode?.connected();
    this.#isOpen = this.#wasOpen = true;
    this.#mismatchedSince = Infinity;
    this.#openedAt = this.#environment.now();
    this.#progressBefore = this.#progress();
    this.#route.noteLetIn();
    const wasLost = this.#isLost;
    this.#isLost = false;
    if (!isResumed) this.#owner.sessionOpened(wasLost);
    // Whoever was told may have ended the session.
    if (this.ended) return;
    if (this.#isOffline) {
      this.#isOffline = false;
      this.#owner.onlineChanged(true, false);
    } else if (isResumed) {
      this.#owner.setStatus(`Goes on at ${this.#route.current}.`);
    }
  }

  /** Whoever shows a key hears the password, or a proof: from then on no other one will do. */
  #noteKey() {
    this.#knownKey ||= this.#connection?.protocol?.serverKey ?? "";
  }

  /**
   * Go on where the server sends this client, and tell nobody of a connection that is gone.
   *
   * @param {Moved} moved
   */
  #move(moved) {
    this.#leave();
    this.#backoff.noteDrop(this.#environment.now());
    this.#follow(moved);
  }

  /** @param {Moved} moved */
  #follow({ address, loginToken }) {
    this.#isNotNow = true;
    if (loginToken.length) this.#loginToken = /** @type {Uint8Array<ArrayBuffer>} */ (loginToken);
    try {
      this.#route.follow(address);
    } catch (error) {
      if (!(error instanceof PGNetError)) throw error;
      this.#fail(error);
      return;
    }
    this.#owner.setStatus(`Going on at ${this.#route.current}...`);
    this.#sentAfter = this.#environment.now() - this.#triedAt;
    if (!this.ended) this.#try();
  }

  /**
   * @param {string} reason
   * @param {string} code
   */
  #loseSession(reason, code) {
    this.#token = new Uint8Array();
    this.#isLost = true;
    this.#delivery = this.#makeDelivery();
    this.#owner.sessionLost(new SessionLost(reason, code || undefined));
  }

  #progress() {
    const { received, lastRequest, unsettled } = this.#delivery;
    return [received, lastRequest, unsettled];
  }

  /**
   * Begin to come back.
   *
   * @param {boolean} restarting
   * @param {PGNetError} [error]
   */
  #drop(restarting, error = new ConnectFailed("the server restarts", "restarting")) {
    this.#leave();
    this.#backoff.noteDrop(this.#environment.now());
    if (this.#tellOffline(error, restarting)) this.#pause(error);
  }

  /** Judge the connection, and close it. */
  #leave() {
    this.#connection?.close();
    this.#connection = null;
    this.#isOpen = false;
    const hasProgressed = this.#progress().some((count, index) => count !== this.#progressBefore[index]);
    const lasted = this.#environment.now() - this.#openedAt;
    if (this.#backoff.noteConnection(lasted, hasProgressed, this.#delivery.unsettled > 0)) this.#route.noteProgress();
  }

  /**
   * Say that there is no connection, and whether the session goes on all the same.
   *
   * @param {PGNetError} error
   * @param {boolean} restarting
   */
  #tellOffline(error, restarting) {
    if (this.#reconnectFor <= 0) {
      this.end(new Disconnected(error.message, error.code, { cause: error }));
    } else {
      this.#isOffline = true;
      this.#owner.onlineChanged(false, restarting);
    }
    return !this.ended;
  }

  /**
   * Note that a try did not succeed.
   *
   * @param {PGNetError} error
   * @param {boolean} [isNotNow] Whether the server wants to be asked again.
   */
  #fail(error, isNotNow = false) {
    this.#stopTimer();
    this.#noteKey();
    const wasInVain = !this.#connection?.protocol && this.#sentAfter < 0;
    this.#connection = null;
    if (!this.#wasOpen && this.#goesOn(error, isNotNow)) return;
    // It was sent elsewhere, and not let in there.
    if (this.#wasOpen && !this.#isOffline && !this.#tellOffline(error, false)) return;
    if (error instanceof ServerKeyMismatch) {
      const now = this.#environment.now();
      this.#mismatchedSince = Math.min(this.#mismatchedSince, now);
      const isForEver = this.#reconnectFor === Infinity && !this.#isTold;
      if (now - this.#mismatchedSince >= MISMATCH_PATIENCE && !isForEver) {
        this.end(error);
        return;
      }
    } else {
      this.#mismatchedSince = Infinity;
    }
    this.#owner.setStatus(sentence(`${this.#wasOpen ? "Not back" : "Not in"} yet: ${error.message}`));
    // An address at which nobody is costs no pause as long as there are others.
    const goesOn = wasInVain && this.#route.hasOthers && !this.#isSuspended;
    this.#route.goBack();
    if (goesOn) this.#try();
    else this.#pause(error);
  }

  /**
   * After a first try, go on to the next address, or end where there is none and nobody said "not now".
   *
   * @param {PGNetError} error
   * @param {boolean} isNotNow
   */
  #goesOn(error, isNotNow) {
    this.#failures.push(error);
    this.#isNotNow ||= isNotNow;
    if (this.#route.hasOthers) {
      this.#owner.setStatus(sentence(`Not in yet: ${error.message}`));
      this.#route.goBack();
      if (!this.ended) this.#try();
      return true;
    }
    const failures = this.#failures;
    const asksAgain = this.#isNotNow;
    this.#failures = [];
    this.#isNotNow = false;
    const mismatch = failures.find((each) => each instanceof ServerKeyMismatch);
    if (asksAgain && !mismatch) return false;
    if (mismatch) this.end(mismatch);
    else if (failures.length === 1 && error instanceof ConnectFailed) this.end(error);
    else this.end(new ConnectFailed(failures.map(({ message }) => message).join("; "), error.code, { cause: error }));
    return true;
  }

  /**
   * Wait a little, and try again; or give up.
   *
   * @param {PGNetError} error Why there is no connection.
   */
  #pause(error) {
    // The owner may have ended the session when it was told.
    if (this.ended || this.#isSuspended) return;
    // Time may have stood still between the last try and now: only a try that failed gives up.
    const left = this.#backoff.giveUpAt - this.#environment.now();
    if (left <= 0) {
      this.end(this.#wasOpen ? new Disconnected(error.message, error.code, { cause: error }) : error);
      return;
    }
    const [high = 0, low = 0] = this.#environment.randomBytes(2);
    const pause = this.#backoff.nextPause((high * 256 + low) / 65536, this.#sentAfter);
    this.#sentAfter = -1;
    // A page in the background may have to wait a minute for any timer, which would cost its seat.
    if (this.#environment.hidden() && pause <= 0.1) {
      this.#try();
      return;
    }
    this.#isPausing = true;
    this.#stopTimer();
    this.#stopTimer = this.#environment.startTimer(Math.min(pause, left), () => this.#try());
  }

  #suspend() {
    if (this.ended || this.#isSuspended) return;
    this.#isSuspended = true;
    this.#stopTimer();
    if (this.#isOpen) {
      this.#drop(false, new ConnectFailed("the page was left", "page_left"));
    } else {
      this.#connection?.close();
      this.#connection = null;
    }
  }

  #resume() {
    if (this.ended || !this.#isSuspended) return;
    this.#isSuspended = false;
    this.#backoff.noteDrop(this.#environment.now());
    this.#backoff.hurry();
    this.#try();
  }

  #wake() {
    if (this.ended || this.#isSuspended) return;
    if (this.#isPausing) {
      this.#stopTimer();
      this.#backoff.hurry();
      this.#try();
    } else if (this.#isOpen) {
      this.#connection?.probe();
    }
  }
}

/** @param {{reason: string, code: string}} ending */
function isTakenOver({ reason, code }) {
  // Servers without codes say it in these words.
  return code === "taken_over" || reason === TAKEN_OVER;
}

/** @param {{reason: string, code: string}} ending */
function endedBy(ending) {
  return isTakenOver(ending)
    ? new TakenOver("you logged in from elsewhere; this page is out of the game")
    : new Disconnected(ending.reason, ending.code || "goodbye");
}

/**
 * End a text with a full stop, where it has none: what a server says has one.
 *
 * @param {string} text The text.
 */
export function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
