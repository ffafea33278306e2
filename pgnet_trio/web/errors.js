/**
 * The errors of this client. Each has a `code` for programs beside its message for people: the
 * server's own, where it has said one.
 *
 * @module
 */

/**
 * An answer of the server, or of the game.
 *
 * @typedef {object} Answer
 * @property {string} message A text: for people, or the name of a typed message.
 * @property {Record<string, any>} payload What came with it.
 * @property {number} status 0 where the request was carried out, 2 where it was refused; a game may
 *     use other numbers.
 * @property {string | null} createdOn When it was made, where the game has said so: ISO 8601.
 * @property {string} code What the server says to programs, where it refuses; empty where it says nothing.
 */

/** The root of every error that this client throws on purpose. */
export class PGNetError extends Error {
  name = "PGNetError";

  /**
   * @param {string} message What was expected, what came, and what to do.
   * @param {string} code A word for programs.
   * @param {ErrorOptions} [options] The cause.
   */
  constructor(message, code, options) {
    super(message, options);
    /**
     * A word for programs, which stays the same when the message changes.
     *
     * @type {string}
     */
    this.code = code;
  }
}

/** Something cannot travel, or what came is not what was expected; the message says where. */
export class CodecError extends PGNetError {
  name = "CodecError";

  /** @param {string} message Where it is, what was expected, and what came. */
  constructor(message) {
    super(message, "codec");
  }
}

/** What came does not decrypt, or a key is not valid. */
export class CryptoError extends PGNetError {
  name = "CryptoError";

  /** @param {string} message What is wrong; never key material. */
  constructor(message) {
    super(message, "crypto");
  }
}

/** The server broke the rules of the protocol; the session has ended. */
export class ProtocolError extends PGNetError {
  name = "ProtocolError";

  /** @param {string} message What was expected, and what came. */
  constructor(message) {
    super(message, "protocol_error");
  }
}

/** There is no connection: the server was not reached, or did not log this client in. */
export class ConnectFailed extends PGNetError {
  name = "ConnectFailed";

  /**
   * @param {string} message Why.
   * @param {string} [code] A word for programs.
   * @param {ErrorOptions} [options] The cause.
   */
  constructor(message, code = "connect_failed", options) {
    super(message, code, options);
  }
}

/** The server was reached and refused the log-in; the message is its reason. */
export class LoginRefused extends ConnectFailed {
  name = "LoginRefused";

  /**
   * @param {string} message The server's reason.
   * @param {string} [code] A word for programs.
   */
  constructor(message, code = "login_refused") {
    super(message, code);
  }
}

/** The server has another key than the one expected; nothing secret was sent to it. */
export class ServerKeyMismatch extends ConnectFailed {
  name = "ServerKeyMismatch";

  /** @param {string} message Both keys. */
  constructor(message) {
    super(message, "server_key_mismatch");
  }
}

/** The session ended, or there is none; the message says why. */
export class Disconnected extends PGNetError {
  name = "Disconnected";

  /**
   * @param {string} message Why.
   * @param {string} [code] A word for programs.
   * @param {ErrorOptions} [options] The cause.
   */
  constructor(message, code = "disconnected", options) {
    super(message, code, options);
  }
}

/** The session was lost: what was under way may have been carried out. The client logs in anew. */
export class SessionLost extends Disconnected {
  name = "SessionLost";

  /**
   * @param {string} message Why.
   * @param {string} [code] A word for programs.
   */
  constructor(message, code = "session_gone") {
    super(message, code);
  }
}

/** Somebody logged in as this user elsewhere; this client is out, and does not come back. */
export class TakenOver extends Disconnected {
  name = "TakenOver";

  /** @param {string} message What happened. */
  constructor(message) {
    super(message, "taken_over");
  }
}

/** The server, or the game, refused a request. */
export class Rejected extends PGNetError {
  name = "Rejected";

  /** @param {Answer} answer What it said. */
  constructor(answer) {
    super(answer.message || `refused with status ${answer.status}`, answer.code || "rejected");
    /**
     * The whole answer.
     *
     * @type {Answer}
     */
    this.answer = answer;
  }

  /** What the game says beside the message. */
  get payload() {
    return this.answer.payload;
  }

  /** The status of the answer: 2 where the request was refused, 1 where something broke. */
  get status() {
    return this.answer.status;
  }
}

/** The program did not read its pushes or questions, and some were dropped. */
export class ItemsLost extends PGNetError {
  name = "ItemsLost";

  /** @param {string} message How many. */
  constructor(message) {
    super(message, "items_lost");
  }
}

/** Too much waits to be sent; wait for answers before sending more. */
export class QueueFull extends PGNetError {
  name = "QueueFull";

  /** @param {string} message How much waits. */
  constructor(message) {
    super(message, "queue_full");
  }
}
