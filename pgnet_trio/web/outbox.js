/**
 * What a client has asked, or is about to ask, in order.
 *
 * @import { Answer } from "./errors.js"
 * @module
 */

import { CodecError, PGNetError, QueueFull } from "./errors.js";

/** Messages that may wait to be sent, or for their answers. */
const MAX_QUEUED = 1024;

/** The same in bytes. */
const MAX_QUEUED_SIZE = 4 * 1024 * 1024;

/** The number of a request takes so many bytes at most. */
const ID_SIZE = 9;

/**
 * A request that was not sent yet, or that has no answer yet.
 *
 * @typedef {object} Pending
 * @property {Uint8Array} body The request, without its number.
 * @property {boolean} quiet Whether nobody wants the answer.
 * @property {(answer: Answer) => void} [succeed] Takes the answer.
 * @property {(error: PGNetError) => void} [fail] Takes the reason why there will be none.
 */

/** Queues requests until they are sent, and knows which of those sent have no answer yet. */
export class Outbox {
  /** @type {Pending[]} */
  #queue = [];
  /** @type {Map<number, Pending>} */
  #sent = new Map();
  #lastId = 0;
  #size = 0;
  // How many of those that wait, at the front, go before the others.
  #urgent = 0;

  constructor() {
    /** The longest envelope in bytes that the server takes. */
    this.maxEnvelope = Infinity;
    /** Whether nothing is sent, because something that is not queued yet goes first. */
    this.isHeld = false;
  }

  /**
   * Queue a request.
   *
   * @param {Pending} request The request.
   * @param {boolean} [doNext] Whether it goes before everything else that waits; several of these
   *   keep their order.
   * @param {boolean} [isFirst] Whether it goes before those too.
   */
  put(request, doNext = false, isFirst = false) {
    const size = request.body.length;
    if (this.#queue.length + this.#sent.size >= MAX_QUEUED || this.#size + size > MAX_QUEUED_SIZE) {
      throw new QueueFull(
        `${this.#queue.length + this.#sent.size} messages of ${this.#size} bytes wait for the server ` +
          "already; wait for some of them before sending more",
      );
    }
    if (size + ID_SIZE > this.maxEnvelope) {
      throw new CodecError(
        `expected a request of at most ${this.maxEnvelope - ID_SIZE} bytes, which is what the server ` +
          `takes, got one of ${size}; send less at once`,
      );
    }
    this.#size += size;
    if (doNext) {
      this.#queue.splice(isFirst ? 0 : this.#urgent, 0, request);
      this.#urgent++;
    } else this.#queue.push(request);
  }

  /**
   * Return the next request, which is sent now; null where there is none.
   *
   * @returns {Pending | null}
   */
  next() {
    if (this.isHeld) return null;
    const request = this.#queue.shift();
    if (!request) return null;
    if (this.#urgent) this.#urgent--;
    // Counted in step with the delivery, which numbers requests in the order of sending.
    this.#lastId++;
    if (request.quiet) this.#size -= request.body.length;
    else this.#sent.set(this.#lastId, request);
    return request;
  }

  /**
   * Return the request of this number, and forget it: its answer is there.
   *
   * @param {number} id The number.
   */
  take(id) {
    const request = this.#sent.get(id);
    if (request) {
      this.#sent.delete(id);
      this.#size -= request.body.length;
    }
    return request;
  }

  /**
   * Tell everybody who waits that there will be no answer, and start counting anew.
   *
   * @param {PGNetError} error Why.
   */
  failAll(error) {
    const requests = [...this.#sent.values(), ...this.#queue];
    // Emptied first: whoever is told may queue more, which belongs to what comes next.
    this.#sent.clear();
    this.#queue = [];
    this.#lastId = this.#size = this.#urgent = 0;
    for (const request of requests) request.fail?.(error);
  }
}
