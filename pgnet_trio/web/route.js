/**
 * Where a session connects to: the addresses that it was given, and where servers have sent it. It knows
 * no clock and no sockets: whoever asks says how a try went.
 *
 * @module
 */

import { redirected } from "./address.js";
import { ConnectFailed } from "./errors.js";

// How often in a row a client lets itself be sent to another address with nothing done between: two
// servers that are at odds would pass it on for ever, and without a pause.
const MAX_MOVES = 8;
// How many addresses a client remembers at which it was let in, beside those that it was given.
const MAX_LEARNED = 8;

/** The addresses of one server, or of several that look like one, and the one to be tried next. */
export class Route {
  #given;
  #randomBytes;
  // Where the client was sent to and let in, the latest last.
  /** @type {string[]} */
  #learned = [];
  /** @type {string[]} */
  #untried = [];
  #moves = 0;

  /**
   * @param {string[]} given The URLs that the program has named, at least one.
   * @param {(size: number) => Uint8Array} randomBytes Returns so many random bytes.
   */
  constructor(given, randomBytes) {
    this.#given = given;
    this.#randomBytes = randomBytes;
    /** The URL that is in use, or that is to be tried next. */
    this.current = "";
    this.goBack();
  }

  /** Whether there are some that were not tried since they were mixed. */
  get hasOthers() {
    return this.#untried.length > 0;
  }

  /**
   * Go where a server sends the client.
   *
   * @param {string} address Where to, as the server says it.
   * @throws {PGNetError} It leads nowhere that the client goes, or it was sent on too often.
   */
  follow(address) {
    if (this.#moves === MAX_MOVES) {
      throw new ConnectFailed(`this client was sent from one address to the next ${MAX_MOVES} times, and then to ${address}`);
    }
    this.current = redirected(this.current, address);
    this.#moves++;
  }

  /** Remember the current one: a server is there that has let the client in. */
  noteLetIn() {
    const { current } = this;
    if (this.#given.includes(current)) return;
    this.#learned = [...this.#learned.filter((url) => url !== current), current].slice(-MAX_LEARNED);
  }

  /** Note that something was done at the current one, beside being sent on. */
  noteProgress() {
    this.#moves = 0;
  }

  /** Take the next of the given ones, and then of the others: the current one has led nowhere. */
  goBack() {
    this.#moves = 0;
    if (!this.#untried.length) {
      const urls = mixed(this.#given, this.#randomBytes);
      // It was the last one of the round before.
      if (urls.at(-1) === this.current) urls.reverse();
      this.#untried = [...this.#learned, ...urls];
    }
    this.current = /** @type {string} */ (this.#untried.pop());
  }
}

/**
 * @param {string[]} urls
 * @param {(size: number) => Uint8Array} randomBytes
 */
function mixed(urls, randomBytes) {
  const lots = urls.length > 1 ? randomBytes(2 * urls.length) : [];
  return urls
    .map((url, index) => ({ url, lot: (lots[2 * index] ?? 0) * 256 + (lots[2 * index + 1] ?? 0) }))
    .sort((one, other) => one.lot - other.lot)
    .map(({ url }) => url);
}
