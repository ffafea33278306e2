/**
 * One WebSocket with the protocol over it: what comes, what goes, and whether the server is alive.
 *
 * @import { Sized } from "./envelopes.js"
 * @import { Environment } from "./environment.js"
 * @import { Protocol } from "./protocol.js"
 * @module
 */

import { ConnectFailed, CryptoError, PGNetError, ProtocolError } from "./errors.js";
import { MAX_MESSAGE, SUBPROTOCOL } from "./protocol.js";

// Seconds without a byte after which this side pings, and after which it gives up.
const PING_INTERVAL = 15;
const SILENCE = 20;

/** Bytes that may wait inside the browser to be sent: more than all requests that may be under way. */
const MAX_UNSENT = 8 * 1024 * 1024;

// What a browser lets a page close with: 1000, and from 3000 on whatever the page likes.
const NORMAL = 1000;

/**
 * What a connection tells. It tells nothing more after `ended`, nor after it was closed.
 *
 * @typedef {object} ConnectionOwner
 * @property {(events: Sized[]) => void} received The server has said this.
 * @property {(error: PGNetError) => void} ended There is no connection any more: a `ProtocolError` where
 *     the server broke the rules, anything else where the connection dropped.
 */

/** One connection. It begins to connect when it is made. */
export class Connection {
  #environment;
  #owner;
  #prepared;
  #socket;
  /** @type {Protocol | null} */
  #protocol = null;
  #isOver = false;
  #lastHeard;
  // When the ping was sent that waits for a sign of life; infinite where none waits.
  #pingedAt = Infinity;
  #stopTimer = () => {};

  /**
   * @param {Environment} environment Sockets, clocks and timers.
   * @param {string} url Where the server is.
   * @param {() => Protocol} makeProtocol Makes the protocol.
   * @param {ConnectionOwner} owner Whom it tells.
   */
  constructor(environment, url, makeProtocol, owner) {
    this.#environment = environment;
    this.#owner = owner;
    this.#lastHeard = environment.now();
    let socket;
    try {
      socket = environment.openSocket(url, [SUBPROTOCOL]);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      throw new ConnectFailed(`${url} cannot be connected to: ${message}`, "connect_failed", { cause: error });
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#open();
    socket.onmessage = (event) => this.#take(event.data);
    // An error ends a socket. In a browser its close follows; Node.js leaves that out at times.
    socket.onclose = socket.onerror = () => this.#end(new ConnectFailed("the connection was lost"));
    // While the browser connects: making the keys takes as long as that does.
    this.#prepared = makeProtocol();
  }

  /** The protocol; null before the socket is open. */
  get protocol() {
    return this.#protocol;
  }

  /** Send what waits in the protocol. */
  flush() {
    if (this.#isOver) return;
    this.#write();
    if (this.#socket.bufferedAmount > MAX_UNSENT) {
      this.#end(new ConnectFailed("the server takes nothing of what it is sent"));
    }
  }

  /** Close, and tell nothing more. The session is not over by that. */
  close() {
    this.#isOver = true;
    this.#stopTimer();
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close(NORMAL);
  }

  /** Look whether the server is alive, now. */
  probe() {
    if (this.#isOver || !this.#protocol || this.#pingedAt < Infinity) return;
    this.#pingedAt = this.#environment.now();
    this.#protocol.ping();
    this.flush();
    this.#watch();
  }

  #open() {
    if (this.#socket.protocol !== SUBPROTOCOL) {
      this.#end(
        new ConnectFailed(
          `the server does not speak ${SUBPROTOCOL}, or somebody between hides it`,
          "protocol_not_spoken",
        ),
      );
      return;
    }
    this.#protocol = this.#prepared;
    this.#lastHeard = this.#environment.now();
    this.#watch();
    this.flush();
  }

  /** @param {unknown} data */
  #take(data) {
    const protocol = this.#protocol;
    if (!protocol || this.#isOver) return;
    this.#lastHeard = this.#environment.now();
    this.#pingedAt = Infinity;
    let events;
    try {
      if (!(data instanceof ArrayBuffer)) throw new ProtocolError("expected a binary message, got a text");
      if (data.byteLength > MAX_MESSAGE) {
        throw new ConnectFailed(`expected a message of at most ${MAX_MESSAGE} bytes, got ${data.byteLength}`);
      }
      events = protocol.receive(new Uint8Array(data));
    } catch (error) {
      if (!(error instanceof PGNetError)) throw error;
      if (error instanceof ProtocolError) protocol.goodbye(error.message);
      this.#end(error instanceof CryptoError ? new ConnectFailed(error.message, error.code) : error);
      return;
    }
    if (events.length) this.#owner.received(events);
    this.flush();
  }

  /** @param {PGNetError} error */
  #end(error) {
    if (this.#isOver) return;
    this.#write();
    this.close();
    this.#owner.ended(error);
  }

  #write() {
    const protocol = this.#protocol;
    if (!protocol) return;
    for (let message = protocol.nextMessage(); message; message = protocol.nextMessage()) {
      this.#socket.send(/** @type {Uint8Array<ArrayBuffer>} */ (message));
    }
  }

  /**
   * Look for silence when nothing more has been heard for as long as that may be.
   *
   * A timer may be late by a minute, where the page is in the background, or by a night. So it proves
   * nothing by itself: only a ping does that was sent and not answered.
   */
  #watch() {
    this.#stopTimer();
    const { now, startTimer } = this.#environment;
    const lookAt = this.#pingedAt < Infinity ? this.#pingedAt + SILENCE - PING_INTERVAL : this.#lastHeard + PING_INTERVAL;
    this.#stopTimer = startTimer(Math.max(0, lookAt - now()), () => {
      if (now() < lookAt) this.#watch();
      else if (this.#pingedAt < Infinity) {
        this.#end(new ConnectFailed("nothing was heard of the server any more"));
      } else if (now() - this.#lastHeard >= PING_INTERVAL) this.probe();
      else this.#watch();
    });
  }
}
