/**
 * The client's side of one connection: its state, its encryption, and the envelopes that are its own.
 *
 * It knows no sockets: messages go in and come out as bytes. What has to outlive the connection is in
 * a `Delivery`.
 *
 * @import { Delivery } from "./delivery.js"
 * @import { Envelope, Hello, Sized } from "./envelopes.js"
 * @import { Cipher } from "./noise.js"
 * @import { NetcodePart } from "./types.js"
 * @module
 */

import * as wire from "./envelopes.js";
import { CryptoError, ProtocolError, ServerKeyMismatch } from "./errors.js";
import { Writer } from "./msgpack_writer.js";
import { Handshake, MAX_PLAINTEXT, OVERHEAD, joined, prove } from "./noise.js";

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = "pgnet.2.1";

/** What this client has beyond `pgnet.2`. */
export const FEATURES = ["announcements", "codes", "columns", "directory", "grace", "invitations", "lost", "matchmaking", "moved", "players", "rejoin", "restart", "tables", "token"];

/** The feature of those clients that were given some. */
const NETCODE = "netcode";

/** The longest frame in bytes that this client takes. */
export const MAX_MESSAGE = 1024 * 1024;

const MIN_FRAME = 1024;
const MAX_FRAME = 32 * 1024;
const FRAME_OVERHEAD = 5 + 11;
const TOKEN_SIZE = 32;
const MAX_FEATURES = 64;
const MAX_FEATURE_NAME = 40;
const MAX_CODE = 40;

/**
 * How far a conversation is. The words stand in errors.
 *
 * @typedef {"waits for the handshake" | "waits for a hello" | "waits for a verdict"
 *     | "waits for its session" | "waits for its token to be taken" | "waits for a log-in" | "is open"
 *     | "has ended"} State
 */

const HANDSHAKE = "waits for the handshake";
const WAITS_HELLO = "waits for a hello";
const VERDICT = "waits for a verdict";
const RETURN = "waits for its session";
const RECOGNITION = "waits for its token to be taken";
const LOG_IN = "waits for a log-in";
const OPEN = "is open";
const CLOSED = "has ended";

const ALIVE = [wire.PING, wire.PONG, wire.GOODBYE];

/**
 * Which kinds may come when.
 *
 * @type {Record<State, Set<number>>}
 */
const EXPECTED = {
  [HANDSHAKE]: new Set(),
  [WAITS_HELLO]: new Set([wire.HELLO, wire.REFUSAL]),
  [VERDICT]: new Set([wire.WELCOME, wire.REFUSAL, wire.MOVED, ...ALIVE]),
  [RETURN]: new Set([wire.RESUMED, wire.SESSION_GONE, wire.REFUSAL, wire.MOVED, ...ALIVE]),
  [RECOGNITION]: new Set([wire.WELCOME, wire.SESSION_GONE, wire.REFUSAL, wire.MOVED, ...ALIVE]),
  [LOG_IN]: new Set(ALIVE),
  [OPEN]: new Set([
    wire.RESPONSE,
    wire.PUSH,
    wire.STATE,
    wire.PATCH,
    wire.COLUMN_PATCH,
    wire.LAST_STATE,
    wire.QUESTION,
    wire.WITHDRAWAL,
    wire.GAME,
    wire.ACKNOWLEDGEMENT,
    wire.RESTART,
    wire.LOST,
    wire.MOVED,
    wire.SEARCH,
    wire.TIME,
    wire.MOMENT,
    ...ALIVE,
  ]),
  [CLOSED]: new Set(),
};

/** @type {Map<number, string>} */
const FEATURE_OF = new Map([
  [wire.RESTART, "restart"],
  [wire.LOST, "lost"],
  [wire.COLUMN_PATCH, "columns"],
  [wire.MOVED, "moved"],
  [wire.SEARCH, "matchmaking"],
  [wire.TIME, NETCODE],
  [wire.MOMENT, NETCODE],
]);

/**
 * What a conversation is about.
 *
 * @typedef {object} Conversation
 * @property {string} username Who logs in.
 * @property {string} password Their password.
 * @property {string} inviteCode An invite for a new user, or empty.
 * @property {string} serverKey The only key of a server to take, in base64; empty for any.
 * @property {Uint8Array} token The token of a session to resume; empty to log in.
 * @property {Uint8Array} loginToken What to log in with instead of the password; empty for nothing.
 * @property {(size: number) => Uint8Array} randomBytes Returns so many random bytes.
 * @property {NetcodePart | undefined} netcode What the page was given for games in real time.
 */

/** The client's side of one connection. Its first message waits as soon as it is made. */
export class Protocol {
  #about;
  #delivery;
  #handshake;
  /** @type {Cipher | null} */
  #cipher = null;
  /** @type {State} */
  #state = HANDSHAKE;
  /** @type {Uint8Array | null} */
  #firstMessage;
  /** @type {Uint8Array[]} */
  #control;
  /** @type {Uint8Array | null} */
  #goodbye = null;
  #frameRoom = MAX_FRAME - FRAME_OVERHEAD - OVERHEAD;
  #owesPong = false;
  #loginToken;
  #logIn;
  #offered;

  /**
   * @param {Conversation} about What it is about.
   * @param {Delivery} delivery The session's delivery; what waits in it leaves once the session is open.
   */
  constructor(about, delivery) {
    this.#about = about;
    this.#delivery = delivery;
    this.#offered = about.netcode ? [...FEATURES, NETCODE] : FEATURES;
    this.#control = [wire.encodeEnvelope(wire.HELLO, MAX_MESSAGE, this.#offered)];
    this.#loginToken = about.loginToken;
    this.#logIn = wire.encodeLogIn(about.username, about.password, about.inviteCode);
    const prologue = new TextEncoder().encode(`${SUBPROTOCOL}\0${SUBPROTOCOL}`);
    this.#handshake = new Handshake(prologue, about.randomBytes(32));
    this.#firstMessage = this.#handshake.message;
    /** The server's key in base64, once it is known, and the one expected. */
    this.serverKey = "";
    /**
     * The features that both sides have.
     *
     * @type {Set<string>}
     */
    this.features = new Set();
    /** The longest envelope in bytes that the server takes. */
    this.maxEnvelope = Infinity;
  }

  /** Whether the connection is to be closed once everything that waits is written. */
  get closing() {
    return this.#state === CLOSED;
  }

  /** Whether requests and answers travel. */
  get open() {
    return this.#state === OPEN;
  }

  /**
   * Take a message of the server in.
   *
   * @param {Uint8Array} message The message.
   * @returns {Sized[]} What it says. Pings are answered, and acknowledgements noted, already.
   */
  receive(message) {
    if (this.#state === CLOSED) return [];
    if (this.#state === HANDSHAKE) return this.#shakeHands(message);
    /** @type {Sized[]} */
    const events = [];
    let counted = 0;
    try {
      const plaintext = /** @type {Cipher} */ (this.#cipher).decrypt(message);
      for (const sized of wire.readFrame(plaintext)) {
        counted += Number(wire.COUNTED.has(sized.envelope.kind));
        if (this.#handle(sized.envelope)) events.push(sized);
      }
    } catch (error) {
      if (error instanceof CryptoError) this.#closeSilently();
      else if (error instanceof ProtocolError) this.goodbye(error.message);
      throw error;
    }
    if (counted) this.#delivery.count(counted, message.length);
    if (this.#owesPong) {
      // One pong answers all pings that came in this frame.
      this.#owesPong = false;
      this.#control.push(wire.encodeEnvelope(wire.PONG));
    }
    return events;
  }

  /**
   * Return the next message to write, or null. It is encrypted now, so each has to be written.
   *
   * @returns {Uint8Array | null}
   */
  nextMessage() {
    const first = this.#firstMessage;
    if (first) {
      this.#firstMessage = null;
      return first;
    }
    if (!this.#cipher) return null;
    const control = this.#control.splice(0);
    if (this.#state === OPEN && this.features.has(NETCODE)) {
      control.push(...(this.#about.netcode?.envelopes(wire.encodeEnvelope) ?? []));
    }
    const room = this.#frameRoom - control.reduce((sum, envelope) => sum + envelope.length, 0);
    if (this.#state === OPEN) control.push(...this.#delivery.take(room, control.length > 0));
    if (!control.length) {
      // The goodbye comes after everything else that waits.
      if (!this.#goodbye) return null;
      control.push(this.#goodbye);
      this.#goodbye = null;
    }
    const head = new Writer().arrayHead(control.length).finish();
    return this.#cipher.encrypt(joined([head, ...control]));
  }

  /**
   * Log in after the server has said that the session is gone, or that it takes no token.
   *
   * @param {Delivery} delivery The new session's delivery.
   */
  logIn(delivery) {
    this.#delivery = delivery;
    this.#state = VERDICT;
    this.#queueLogIn();
  }

  /** Ask for the whole state, because a patch does not fit the one that the client has. */
  requestFullState() {
    this.#delivery.stateVersion = 0;
    if (this.#state === OPEN) this.#control.push(wire.encodeEnvelope(wire.FULL_STATE));
  }

  /** Ask for a sign of life. */
  ping() {
    if (this.#cipher && this.#state !== CLOSED) this.#control.push(wire.encodeEnvelope(wire.PING));
  }

  /**
   * End the session for good.
   *
   * @param {string} reason Why; the server is told.
   */
  goodbye(reason) {
    if (this.#cipher && this.#state !== CLOSED) {
      this.#goodbye = wire.encodeEnvelope(wire.GOODBYE, reason.slice(0, wire.MAX_REASON).toWellFormed());
    }
    this.#state = CLOSED;
  }

  #closeSilently() {
    this.#state = CLOSED;
    this.#goodbye = this.#firstMessage = null;
    this.#control = [];
  }

  /** @param {Uint8Array} message */
  #shakeHands(message) {
    try {
      const { serverKey, payload, cipher } = this.#handshake.read(message);
      const key = toBase64(serverKey);
      const { serverKey: expected } = this.#about;
      if (expected && expected !== key) {
        throw new ServerKeyMismatch(
          `the server's key is ${key}, expected ${expected}; it is another server, or it has a new ` +
            "key: ask who runs it",
        );
      }
      this.serverKey = key;
      this.#cipher = cipher;
      this.#state = WAITS_HELLO;
      const envelopes = wire.readFrame(payload);
      const [first] = envelopes;
      if (!first || envelopes.length !== 1) {
        throw new ProtocolError(`expected a hello, got ${envelopes.length} envelopes`);
      }
      if (this.#handle(first.envelope)) return [first];
    } catch (error) {
      this.#closeSilently();
      if (error instanceof CryptoError) throw new ProtocolError(`the handshake failed: ${error.message}`);
      throw error;
    }
    const { token, username } = this.#about;
    if (token.length) {
      const proof = prove(token, this.#cipher.handshakeHash);
      this.#control.push(wire.encodeEnvelope(wire.RESUME, username, proof, this.#delivery.received));
      this.#state = RETURN;
    } else {
      this.#state = VERDICT;
      this.#queueLogIn();
    }
    return [];
  }

  #queueLogIn() {
    if (this.#loginToken.length && this.features.has("token")) {
      this.#control.push(wire.encodeEnvelope(wire.LOG_IN, this.#about.username, "", "", this.#loginToken));
      this.#loginToken = new Uint8Array();
      this.#state = RECOGNITION;
    } else {
      this.#control.push(this.#logIn);
    }
  }

  /**
   * Act on an envelope, and say whether anybody else has to know of it.
   *
   * @param {Envelope} envelope
   */
  #handle(envelope) {
    const { kind } = envelope;
    const feature = FEATURE_OF.get(kind);
    if (!EXPECTED[this.#state].has(kind) || (feature && !this.features.has(feature))) {
      throw new ProtocolError(`envelope ${kind} came while the conversation ${this.#state}`);
    }
    if ("code" in envelope && envelope.code) {
      if (!this.features.has("codes")) throw new ProtocolError("a code came that is not in use");
      if (envelope.code.length > MAX_CODE) throw new ProtocolError("expected a short code, got a long one");
    }
    switch (kind) {
      case wire.HELLO:
        this.#takeHello(envelope);
        return false;
      case wire.WELCOME:
        checkToken(envelope.token);
        this.#checkLoginToken(envelope.loginToken);
        if (envelope.times) {
          const { grace, reconnectFor } = envelope.times;
          if (!this.features.has("grace")) throw new ProtocolError("a grace came that is not in use");
          if (grace < 0 || reconnectFor < 0) throw new ProtocolError("expected times of 0 s or more, got less");
        }
        this.#state = OPEN;
        return true;
      case wire.RESUMED:
        this.#delivery.resume(envelope.lastRequest);
        this.#state = OPEN;
        return true;
      case wire.SESSION_GONE:
        this.#state = LOG_IN;
        return true;
      case wire.MOVED:
        this.#checkLoginToken(envelope.loginToken);
        if (!/^[!-~]{1,500}$/.test(envelope.address)) throw new ProtocolError("expected an address, got something else");
        this.#state = CLOSED;
        return true;
      case wire.REFUSAL:
      case wire.GOODBYE:
      case wire.RESTART:
        this.#state = CLOSED;
        return true;
      case wire.RESPONSE:
        this.#delivery.settle(envelope.id);
        return true;
      case wire.STATE:
        this.#delivery.stateVersion = envelope.version;
        return true;
      case wire.LAST_STATE: {
        // The server cannot know whether the client has it already.
        const isNew = envelope.version !== this.#delivery.stateVersion;
        this.#delivery.stateVersion = envelope.version;
        return isNew;
      }
      case wire.PATCH:
      case wire.COLUMN_PATCH:
        if (envelope.base === this.#delivery.stateVersion) this.#delivery.stateVersion = envelope.version;
        return true;
      case wire.LOST:
        if (envelope.count < 1) throw new ProtocolError(`expected 1 push lost or more, got ${envelope.count}`);
        return true;
      case wire.ACKNOWLEDGEMENT:
        this.#delivery.settleQuiet(envelope.received);
        return true;
      case wire.PING:
        this.#owesPong = true;
        return false;
      case wire.PONG:
        return false;
    }
    return true;
  }

  /** @param {Uint8Array} token */
  #checkLoginToken(token) {
    if (!token.length) return;
    if (!this.features.has("token")) throw new ProtocolError("a token came that is not in use");
    checkToken(token);
  }

  /** @param {Hello} hello */
  #takeHello(hello) {
    const limit = hello.maxFrameSize ?? Infinity;
    if (limit < MIN_FRAME) throw new ProtocolError(`expected frames of ${MIN_FRAME} bytes at least, got ${limit}`);
    const named = hello.features ?? [];
    if (named.length > MAX_FEATURES || named.some((name) => name.length > MAX_FEATURE_NAME)) {
      throw new ProtocolError("expected a few short names of features, got others");
    }
    this.features = new Set(this.#offered.filter((name) => named.includes(name)));
    this.#frameRoom = Math.min(MAX_FRAME, limit) - FRAME_OVERHEAD - OVERHEAD;
    if (limit < Infinity) {
      this.maxEnvelope = limit - FRAME_OVERHEAD - OVERHEAD * (Math.floor(limit / MAX_PLAINTEXT) + 1);
    }
  }
}

/** @param {Uint8Array} token */
function checkToken(token) {
  if (token.length !== TOKEN_SIZE) throw new ProtocolError(`expected a token of ${TOKEN_SIZE} bytes`);
}

/**
 * Return bytes in base64, as keys are shown.
 *
 * @param {Uint8Array} bytes The bytes.
 */
export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}
