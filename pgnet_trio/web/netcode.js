/**
 * Netcode for pages: nobody feels the network. A file of its own, `/pgnet/netcode.js`, since only
 * games in real time need it.
 *
 * @import { NetcodeHost } from "./types.js"
 * @import { Frame } from "./play.js"
 * @module
 */

import { Interpolator } from "./interpolation.js";
import { Play } from "./play.js";
import { Predictor } from "./prediction.js";
import { ServerClock } from "./server_clock.js";

export { Interpolator } from "./interpolation.js";
export { Play } from "./play.js";
export { PredictedSpawns, Predictor } from "./prediction.js";
export { ServerClock } from "./server_clock.js";

// The envelopes of the feature: "Netcode" in the protocol's page says what they mean.
const INPUT = 27;
const TIME_REQUEST = 28;
const TIME = 29;
const MOMENT = 30;

// As in `inputs.py`: after so many seconds without an input numbers go on by those of the ticks since,
// and some more.
const PAUSE = 0.1;
const PAUSE_MARGIN = 3;

// Seconds from one question for the time to the next: the first ones on a connection, and then.
const FIRST_PAUSES = [0.1, 0.2, 0.4];
const PAUSE_BETWEEN = 1;
const MOST_UNANSWERED = 16;

// Beyond these nobody can count ticks, or milliseconds.
const LONGEST_TIME = 1e12;
const MOST_TICKS = 1e6;

const OPTIONS = ["step", "fields", "at", "angle", "smooth", "delay", "snap"];

/**
 * @typedef {object} NetcodeOptions
 * @property {(state: any, input: any, dt: number) => any} step The game's own rule: it changes the
 *   state in place, or returns another one.
 * @property {string | string[]} fields The names of the numbers that have values in between: `["x", "y"]`.
 * @property {string} [at] The field of the state that has the objects by the players' names. Without it,
 *   the state itself has.
 * @property {string | string[]} [angle] The names of fields that are angles in radians.
 * @property {number} [smooth] Seconds over which an error of the prediction disappears: 0.15.
 * @property {number | "auto"} [delay] Seconds that others are shown late, or "auto".
 * @property {number} [snap] Where a field changes by more than this at once, nothing is shown in
 *   between.
 */

/**
 * Shows a game in real time: give it to `new Client({ username, netcode })`, and call `frame` in each
 * frame.
 */
export class Netcode {
  #at;
  #rules;
  /** @type {NetcodeHost | null} */
  #host = null;
  /** @type {ServerClock | null} */
  #clock = null;
  /** @type {Play | null} */
  #play = null;
  #number = 0;
  #madeAt = 0;
  #confirmed = 0;
  // How many ticks a second the game has, as far as the server has said; 0 for none.
  #rate = 0;
  /**
   * What has not left yet. What is old is of no use, so a newer one takes its place.
   *
   * @type {{number: number, seen: number, input: Record<string, unknown>} | null}
   */
  #waiting = null;
  // What the server has of the input before, on this connection.
  #sent = { number: 0, seen: 0, input: /** @type {Record<string, unknown>} */ ({}) };
  // The last question for the time, how many there were on this connection, and when the next is due.
  #question = 0;
  #asked = 0;
  #due = 0;
  #asks = false;
  /** @type {Map<number, {at: number, wakes: number}>} */
  #unanswered = new Map();
  #inGame = false;
  // What is wrong with the state: whoever calls `frame` can handle it.
  /** @type {unknown} */
  #error = null;

  /** @param {NetcodeOptions} options How to show the game. */
  constructor(options) {
    const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
    if (unknown !== undefined) {
      throw new TypeError(`Netcode: expected the options ${OPTIONS.join(", ")}, got "${unknown}"`);
    }
    const { at, ...rules } = options;
    // They check what they are given, and the page hears of it here.
    new Predictor(rules.step, {}, { ...rules, dt: 1 });
    new Interpolator(rules);
    this.#at = at;
    this.#rules = rules;
  }

  /** What shows the game; null before the client is made. */
  get play() {
    return this.#play;
  }

  /** How long a message and its answer take; null before that is known. */
  get latency() {
    return this.#clock?.latency ?? null;
  }

  /** The time in the game's room, in seconds: an estimate that never runs backwards. */
  get serverTime() {
    return this.#clock?.time() ?? 0;
  }

  /**
   * Send what is to be sent, and return what to show in this frame.
   *
   * @param {Record<string, unknown> | null} [input] What the player wants at this moment; null for
   *   nothing.
   * @returns {Frame | null} Null before the client is made.
   * @throws {Error} Where the state has no such objects, and what `step` throws, here or as a state comes.
   */
  frame(input = null) {
    if (this.#play === null) return null;
    if (this.#error !== null) throw this.#error;
    this.#askForTime();
    const shown = this.#play.frame(this.serverTime, input);
    this.#host?.flush();
    return shown;
  }

  // What the client calls.

  /**
   * Begin to work for a client.
   *
   * @param {NetcodeHost} host The client.
   */
  begin(host) {
    this.#host = host;
    this.#clock = new ServerClock(host.now, host.slept);
    this.#play = new Play(this.#rules, host.username, (input, seen) => this.#put(input, seen));
  }

  /** Begin anew with a connection: what waits is old, and the server knows no input of before. */
  connected() {
    this.#waiting = null;
    this.#sent = { number: 0, seen: 0, input: {} };
    this.#clock?.changeLink();
    this.#forgetQuestions();
  }

  /**
   * Begin with another game, or none.
   *
   * @param {number | null} time The time in its room; null for none.
   */
  entered(time) {
    this.#inGame = time !== null;
    this.#waiting = null;
    this.#confirmed = this.#rate = 0;
    this.#error = null;
    this.#play?.reset();
    if (time !== null) this.#clock?.begin(time);
    this.#forgetQuestions();
  }

  /**
   * Return the envelopes that are to leave now.
   *
   * @param {(kind: number, ...fields: unknown[]) => Uint8Array} encode Encodes one.
   */
  envelopes(encode) {
    const envelopes = [];
    if (this.#asks) envelopes.push(encode(TIME_REQUEST, this.#question));
    this.#asks = false;
    const next = this.#waiting;
    if (next !== null) {
      const { number, seen, input } = this.#sent;
      const whole = Object.keys(input).some((name) => !Object.hasOwn(next.input, name));
      const changed = Object.entries(next.input).filter(([name, value]) => whole || !Object.is(input[name], value));
      const changes = Object.fromEntries(changed);
      const fields = whole ? [changes, true] : changed.length ? [changes] : [];
      envelopes.push(encode(INPUT, next.number - number, next.seen - seen, ...fields));
      this.#sent = next;
      this.#waiting = null;
    }
    return envelopes;
  }

  /**
   * Take in what the server says.
   *
   * @param {number} kind The kind of the envelope.
   * @param {number[]} values What is in it.
   * @param {any} state The latest state; undefined where it has not come.
   */
  take(kind, values, state) {
    const [clock, play] = [this.#clock, this.#play];
    const [first = 0, time = 0, last = 0] = values;
    if (clock === null || play === null || !(Math.abs(time) <= LONGEST_TIME)) return;
    if (kind === TIME) {
      const asked = this.#unanswered.get(first);
      // The answer of another connection, or about another game.
      if (asked === undefined) return;
      this.#unanswered.delete(first);
      clock.noteSleep();
      const trip = Number(this.#host?.now()) - asked.at;
      // How long an answer took nobody knows where this machine slept meanwhile.
      clock.learn(time, asked.wakes === clock.wakes ? trip : undefined);
      this.#rate = last > 0 && last <= MOST_TICKS ? last : 0;
      play.dt = this.#rate > 0 ? 1 / this.#rate : 0;
    } else if (kind === MOMENT && state !== undefined) {
      clock.learn(time);
      // The server counts what has stood for inputs that were to come, also where none were.
      this.#confirmed = Math.max(this.#confirmed, Math.min(last, this.#number));
      try {
        play.take(this.#thingsOf(state), { time, confirmed: this.#confirmed }, clock.time());
        this.#error = null;
      } catch (error) {
        this.#error = error;
      }
    }
  }

  /** @param {any} state The latest state. */
  #thingsOf(state) {
    const things = this.#at === undefined ? state : state?.[this.#at];
    if (typeof things === "object" && things !== null) return things;
    const known = Object.keys(state ?? {}).join(", ") || "none";
    throw new RangeError(`at: expected a state with objects in its field "${this.#at}", got the fields ${known}`);
  }

  /**
   * @param {Record<string, unknown>} input What the player wants.
   * @param {number} seen The room's time that the player saw.
   */
  #put(input, seen) {
    if (!(Math.abs(seen) <= LONGEST_TIME)) return null;
    if (!this.#inGame || !this.#host?.isOpen() || !this.#host.plays()) return null;
    const now = this.#host.now();
    const rate = this.#rate;
    const waited = now - this.#madeAt;
    this.#madeAt = now;
    const isPause = this.#number > 0 && rate > 0 && waited > Math.max(PAUSE, 1.5 / rate);
    this.#number += isPause ? Math.floor(waited * rate) + PAUSE_MARGIN : 1;
    const fields = Object.entries(input).filter(([, value]) => value !== undefined);
    const sent = Object.fromEntries(fields);
    this.#waiting = { number: this.#number, seen: Math.round(seen * 1000), input: sent };
    return this.#number;
  }

  #askForTime() {
    const now = Number(this.#host?.now());
    if (!this.#inGame || now < this.#due || !this.#host?.isOpen()) return;
    this.#question += 1;
    this.#unanswered.set(this.#question, { at: now, wakes: this.#clock?.wakes ?? 0 });
    const [oldest = 0] = this.#unanswered.keys();
    if (this.#unanswered.size > MOST_UNANSWERED) this.#unanswered.delete(oldest);
    this.#due = now + (FIRST_PAUSES[this.#asked] ?? PAUSE_BETWEEN);
    this.#asked += 1;
    this.#asks = true;
  }

  #forgetQuestions() {
    this.#unanswered.clear();
    this.#asked = 0;
    this.#due = 0;
    this.#asks = false;
  }
}
