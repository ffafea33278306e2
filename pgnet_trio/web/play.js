/**
 * A whole game on one player's screen: the own object predicted, and all others interpolated. As
 * `play.py`.
 *
 * @import { State } from "./states.js"
 * @module
 */

import { Interpolator } from "./interpolation.js";
import { MAX_PENDING, Predictor } from "./prediction.js";
import { copied, named } from "./states.js";

const MOST_TICKS = 4;

/**
 * @typedef {object} PlayRules
 * @property {(state: any, input: any, dt: number) => any} step The game's own rule; see `Predictor`.
 * @property {string | string[]} fields The names of the numbers that have values in between.
 * @property {string | string[]} [angle] The names of those that are angles in radians.
 * @property {number} [smooth] Seconds over which an error of the prediction disappears: 0.15.
 * @property {number | "auto"} [delay] Seconds that others are shown late, or "auto".
 * @property {number} [snap] Where a field changes by more than this at once, nothing is shown in
 *   between.
 */

/**
 * @typedef {object} Frame
 * @property {Record<string, any>} things Everything, by name: the own object as predicted, all others
 *   as interpolated.
 * @property {any} me The own object; null for who only watches, and before the first state.
 * @property {any} predicted The same without smoothing: where the server will have it.
 * @property {Record<string, any>} server Everything as the latest state has it.
 * @property {Record<string, any>} interpolated Everything as interpolated, the own object too.
 * @property {number | null} number The number of the input that has what was given for this frame: the
 *   last one, or the next where no tick was due. Null where nothing was given, or there is no connection.
 * @property {number | null} confirmed The number of the last input that the latest state contains.
 */

/** Shows a game to one of its players, frame by frame. Times are the room's. */
export class Play {
  /** Seconds between two ticks of the game; 0 for none, or not known yet. */
  dt = 0;
  /** What shows the others. */
  interpolator;
  /**
   * What shows the own object; null where there is none.
   *
   * @type {Predictor | null}
   */
  predictor = null;
  #rules;
  #name;
  #send;
  /** @type {Record<string, State>} */
  #server = named();
  /** @type {number | null} */
  #nextTick = null;
  // What the player wanted in the frame before, and what they saw when they began to.
  /** @type {any} */
  #wanted = null;
  /** @type {number | null} */
  #seen = null;
  // The last input that was sent, and the last that the latest state contains.
  /** @type {number | null} */
  #number = null;
  /** @type {number | null} */
  #confirmed = null;
  // For how much of a tick it was shown there.
  #ahead = 0;
  // What was sent while there was no own object: one that appears has not had all of it.
  /** @type {{number: number, input: any}[]} */
  #unapplied = [];

  /**
   * @param {PlayRules} rules How to show it.
   * @param {string} name The name of the own object.
   * @param {(input: any, seen: number) => number | null} send Sends an input, with the room's time
   *   that the player saw; returns its number, or null where it cannot be sent.
   */
  constructor(rules, name, send) {
    this.#rules = rules;
    this.#name = name;
    this.#send = send;
    this.interpolator = new Interpolator(rules);
  }

  /** Begin with another game: what came before is over. */
  reset() {
    this.dt = 0;
    this.interpolator = new Interpolator(this.#rules);
    this.predictor = null;
    this.#server = named();
    this.#nextTick = null;
    this.#wanted = null;
    this.#seen = null;
    this.#number = this.#confirmed = null;
    this.#ahead = 0;
    this.#unapplied = [];
  }

  /**
   * Take in a state.
   *
   * @param {Record<string, State>} things The objects of the game; they have to stay as they are.
   * @param {{time: number, confirmed: number}} moment Of which moment they are.
   * @param {number} now When they came.
   */
  take(things, moment, now) {
    this.#server = things;
    this.#confirmed = moment.confirmed || null;
    this.interpolator.push(moment.time, things, now);
    const mine = things[this.#name];
    if (mine === undefined || !this.dt) this.predictor = null;
    else if (this.predictor?.dt !== this.dt) {
      this.predictor = new Predictor(this.#rules.step, mine, { ...this.#rules, dt: this.dt });
      for (const { number, input } of this.#unapplied) {
        if (number > moment.confirmed) this.predictor.apply(input, number);
      }
      this.#unapplied = [];
    } else this.predictor.reconcile(mine, this.#confirmed, now);
  }

  /**
   * Send what is to be sent, and return what to show.
   *
   * @param {number} now The time of this frame.
   * @param {any} [input] What the player wants at this moment; null for nothing.
   * @returns {Frame}
   */
  frame(now, input = null) {
    // Whoever acts now has seen the frame before this one.
    const seen = this.interpolator.time;
    const interpolated = this.interpolator.show(now);
    const predictor = this.predictor;
    let ahead = 0;
    /** @type {number | null} */
    let number = null;
    if (input !== null && seen !== null && this.dt) {
      if (JSON.stringify(input) !== JSON.stringify(this.#wanted)) {
        if (this.#wanted !== null) predictor?.changeInput(this.#wanted, input, this.#ahead, now);
        // A copy: the author may change the one object, and hand it in again.
        this.#wanted = copied(input);
        this.#seen = seen;
      }
      const before = this.#number;
      ahead = this.#makeTicks(now, this.#wanted, seen, predictor);
      number = this.#number;
      // No tick was due: the next one has it.
      if (number !== null && number === before) number += 1;
    }
    this.#ahead = ahead;
    const me = predictor === null ? null : predictor.show(now, input, ahead);
    const predicted = predictor === null ? null : predictor.predict(input, ahead);
    const things = Object.assign(named(), interpolated);
    if (me !== null) things[this.#name] = me;
    return { things, me, predicted, server: this.#server, interpolated, number, confirmed: this.#confirmed };
  }

  /**
   * Send and apply an input for each tick that is due; return how long ago the last was.
   *
   * @param {number} now The time of this frame.
   * @param {any} input What the player wants.
   * @param {number} seen The room's time that the player saw.
   * @param {Predictor | null} predictor What predicts, where there is something to predict.
   */
  #makeTicks(now, input, seen, predictor) {
    let due = this.#nextTick ?? now;
    const sawAt = this.#seen ?? seen;
    if (due <= now) this.#seen = null;
    for (let count = 0; count < MOST_TICKS && due <= now; count++) {
      const number = (this.#number = this.#send(input, sawAt));
      if (number !== null && predictor !== null) predictor.apply(input, number);
      else if (number !== null) {
        this.#unapplied.push({ number, input });
        if (this.#unapplied.length > MAX_PENDING) this.#unapplied.shift();
      }
      due += this.dt;
    }
    if (due <= now) due = now + this.dt;
    this.#nextTick = due;
    return Math.max(0, this.dt - (due - now));
  }
}
