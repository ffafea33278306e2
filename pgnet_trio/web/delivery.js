/**
 * The client's end of a session: what must arrive exactly once.
 *
 * Connections come and go; this object stays. Each request has a number and is kept until it is
 * settled: when its response comes or, where it is quiet, when the server says that it is done.
 *
 * @module
 */

import { ACKNOWLEDGEMENT, encodeEnvelope, numbered } from "./envelopes.js";
import { ProtocolError } from "./errors.js";

/** How far a request's number may be beyond that of the oldest request that is not settled. */
const WINDOW = 64;

/** After so many counted envelopes, or bytes, an acknowledgement gets a frame of its own. */
const ACKNOWLEDGE_AFTER = 32;
const ACKNOWLEDGE_AFTER_BYTES = 64 * 1024;

/** The requests under way, and how much was received. */
export class Delivery {
  #nextRequest;
  #acknowledged = 0;
  #receivedBytes = 0;
  /**
   * The requests that are not settled, as they were written, the oldest first.
   *
   * @type {Map<number, Uint8Array>}
   */
  #unsettled = new Map();
  /** @type {Set<number>} */
  #quiet = new Set();
  /** @type {Uint8Array[]} */
  #unwritten = [];

  /**
   * @param {() => {body: Uint8Array, quiet: boolean} | null} nextRequest Returns the next request that
   *     waits. It is called when there is room for it, and what it returns has been sent.
   */
  constructor(nextRequest) {
    this.#nextRequest = nextRequest;
    /** The number of the last request that was written. */
    this.lastRequest = 0;
    /** How many counted envelopes have come since the session began. */
    this.received = 0;
    /** The version of the state that the client has; 0 where it needs a whole one. */
    this.stateVersion = 0;
  }

  /** How many requests were written and are not settled. */
  get unsettled() {
    return this.#unsettled.size;
  }

  /**
   * Note that a frame came.
   *
   * @param {number} envelopes How many counted envelopes were in it.
   * @param {number} size Its bytes.
   */
  count(envelopes, size) {
    this.received += envelopes;
    this.#receivedBytes += size;
  }

  /**
   * Note that the response to a request came.
   *
   * @param {number} id The request's number.
   */
  settle(id) {
    if (this.#quiet.has(id) || !this.#unsettled.delete(id)) {
      throw new ProtocolError(`an answer came to ${id}, which is no request that waits for one`);
    }
  }

  /**
   * Note that the server has carried out all quiet requests up to a number.
   *
   * @param {number} last The number.
   */
  settleQuiet(last) {
    this.#checkLast(last);
    for (const id of this.#quiet) {
      if (id <= last) {
        this.#quiet.delete(id);
        this.#unsettled.delete(id);
      }
    }
  }

  /**
   * Go on over a new connection: write again what the server does not have.
   *
   * @param {number} last The number of the last request that the server has.
   */
  resume(last) {
    this.#checkLast(last);
    this.#unwritten = [...this.#unsettled].filter(([id]) => id > last).map(([, body]) => body);
    this.#acknowledged = this.received;
    this.#receivedBytes = 0;
  }

  /**
   * Return the next envelopes to send.
   *
   * @param {number} size How many bytes the frame has room for; a single envelope may be longer.
   * @param {boolean} joining Whether the frame leaves anyway, because something else is in it.
   */
  take(size, joining) {
    /** @type {Uint8Array[]} */
    const out = [];
    while (size > 0) {
      const envelope = this.#nextEnvelope();
      if (!envelope) break;
      size -= envelope.length;
      if (size < 0 && (out.length || joining)) {
        this.#unwritten.unshift(envelope);
        break;
      }
      out.push(envelope);
    }
    const news = this.received - this.#acknowledged;
    const isUrgent = news >= ACKNOWLEDGE_AFTER || this.#receivedBytes >= ACKNOWLEDGE_AFTER_BYTES;
    if (news && (out.length || joining || isUrgent)) {
      // First, so that the server forgets what it answers before it looks at the window.
      out.unshift(encodeEnvelope(ACKNOWLEDGEMENT, this.received));
      this.#acknowledged = this.received;
      this.#receivedBytes = 0;
    }
    return out;
  }

  #nextEnvelope() {
    const waiting = this.#unwritten.shift();
    if (waiting) return waiting;
    const [oldest] = this.#unsettled.keys();
    if (oldest !== undefined && this.lastRequest + 1 - oldest >= WINDOW) return null;
    const request = this.#nextRequest();
    if (!request) return null;
    const id = ++this.lastRequest;
    const envelope = numbered(request.body, id);
    this.#unsettled.set(id, envelope);
    if (request.quiet) this.#quiet.add(id);
    return envelope;
  }

  /** @param {number} last */
  #checkLast(last) {
    if (last > this.lastRequest) {
      throw new ProtocolError(`the server has request ${last}; the last was ${this.lastRequest}`);
    }
  }
}
