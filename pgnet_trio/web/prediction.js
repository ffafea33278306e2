/**
 * Prediction: a player's own object moves at once, and not when the server's answer comes; and so do
 * its shots. As `predictor.py` and `spawns.py`.
 *
 * @import { State } from "./states.js"
 * @module
 */

import { LONGEST, StateFields, added, copied, isLeap, named, size } from "./states.js";

export const MAX_PENDING = 128;
const MAX_SPAWNS = 256;

/**
 * @typedef {object} PredictorOptions
 * @property {number} dt Seconds that one input stands for: those between two ticks of the game.
 * @property {string | string[]} fields The names of the numbers in which errors disappear slowly.
 * @property {string | string[]} [angle] The names of fields that are angles in radians.
 * @property {number} [smooth] Seconds over which an error disappears: 0.15; 0 for at once.
 * @property {number} [snap] Where a field is off by more than this, it is right at once.
 * @property {number} [maxPending] How many inputs may wait to be confirmed: 128. Further ones have no
 *   effect.
 */

/**
 * Lets a player's own object move at once, and not when the server's answer comes.
 *
 * It applies each input at once. When a state comes from the server, it begins there, and applies the
 * inputs again that this state does not contain yet.
 */
export class Predictor {
  /**
   * What the server will say, as far as this player can know it. Not to be changed.
   *
   * @type {State}
   */
  state;
  /** Seconds that one input stands for. */
  dt;
  /** How far the prediction was off when the latest state came. */
  error = 0;
  /** How many states were not as predicted so far. */
  corrections = 0;
  #step;
  #smooth;
  #snap;
  #fields;
  #maxPending;
  /** @type {{number: number, input: any}[]} */
  #pending = [];
  /** @type {number[] | null} */
  #offset = null;
  #offsetSince = 0;

  /**
   * @param {(state: any, input: any, dt: number) => any} step The game's own rule: changes the state
   *   in place, or returns another one. It is called with copies, several times for each input.
   * @param {State} state The state to begin with.
   * @param {PredictorOptions} options How to predict.
   */
  constructor(step, state, { dt, fields, angle = [], smooth = 0.15, snap = Infinity, maxPending = MAX_PENDING }) {
    if (!(dt > 0 && dt < Infinity)) throw new RangeError(`dt: expected seconds above 0, got ${dt}`);
    if (typeof step !== "function") throw new TypeError("step: expected a function of object, input and dt");
    if (!(smooth >= 0 && smooth <= LONGEST)) {
      throw new RangeError(`smooth: expected 0 to ${LONGEST} s, got ${smooth}`);
    }
    if (!(maxPending >= 1)) throw new RangeError(`maxPending: expected 1 or more, got ${maxPending}`);
    this.state = copied(state);
    this.#step = step;
    this.dt = dt;
    this.#smooth = smooth;
    this.#snap = snap;
    this.#fields = new StateFields(fields, angle);
    this.#maxPending = maxPending;
  }

  /** How many inputs the server has not confirmed. */
  get pending() {
    return this.#pending.length;
  }

  /**
   * Apply an input, now that it is sent; return whether it had an effect.
   *
   * @param {any} input What the player wants during one tick.
   * @param {number} number Its number, larger than those before it.
   */
  apply(input, number) {
    if (this.#pending.length >= this.#maxPending) return false;
    this.#pending.push({ number, input });
    this.state = this.#step(this.state, input, this.dt) ?? this.state;
    return true;
  }

  /**
   * Take in a state of the server's, and apply to it what it does not contain yet; return how far the
   * prediction was off.
   *
   * @param {State} state The server's state of this object.
   * @param {number | null} confirmed The number of the last input that it contains; null for none.
   * @param {number} now The time in seconds, on any clock that `show` is called with too.
   */
  reconcile(state, confirmed, now) {
    const pending = this.#pending;
    while (confirmed !== null && pending[0] !== undefined && pending[0].number <= confirmed) {
      pending.shift();
    }
    const before = this.state;
    let after = copied(state);
    for (const { input } of pending) after = this.#step(after, input, this.dt) ?? after;
    this.state = after;
    const difference = this.#fields.difference(before, after);
    this.error = size(difference);
    if (this.error !== 0) {
      this.corrections += 1;
      this.#hide(difference, now);
    }
    return this.error;
  }

  /**
   * Note that the player wants something else, in the middle of a tick. The whole tick will count for
   * the new input. What was shown of it with the one before disappears as an error does.
   *
   * @param {any} before What the player wanted until now.
   * @param {any} input What the player wants from now on.
   * @param {number} ahead For how many seconds of this tick the one before was shown.
   * @param {number} now The time in seconds, on the clock of `reconcile`.
   */
  changeInput(before, input, ahead, now) {
    if (ahead <= 0) return;
    const [shown, right] = [this.predict(before, ahead), this.predict(input, ahead)];
    this.#hide(this.#fields.difference(shown, right), now);
  }

  /**
   * Return what is predicted for this moment, as a copy, with no error smoothed.
   *
   * @param {any} [input] What the player wants at this moment, though it is not sent yet.
   * @param {number} [ahead] Seconds since the last tick, for which that input counts already.
   * @returns {State}
   */
  predict(input = null, ahead = 0) {
    const state = copied(this.state);
    return input === null || ahead <= 0 ? state : (this.#step(state, input, ahead) ?? state);
  }

  /**
   * Return what to show in this frame, as a copy: what `predict` returns, smoothed.
   *
   * @param {number} now The time in seconds, on the clock of `reconcile`.
   * @param {any} [input] What the player wants at this moment, though it is not sent yet.
   * @param {number} [ahead] Seconds since the last tick, for which that input is shown already.
   */
  show(now, input = null, ahead = 0) {
    const state = this.predict(input, ahead);
    if (this.#offset !== null) {
      const share = this.#share(now);
      if (share > 0) return this.#fields.moved(state, this.#offset, share);
      this.#offset = null;
    }
    return state;
  }

  /**
   * Show less and less of a difference to what was shown so far.
   *
   * @param {number[]} difference The difference.
   * @param {number} now The time.
   */
  #hide(difference, now) {
    const offset = this.#offset;
    const whole = offset === null ? difference : added(difference, offset, this.#share(now));
    this.#offset = this.#smooth > 0 && !isLeap(whole, this.#snap) ? whole : null;
    this.#offsetSince = now;
  }

  /** @param {number} now The time. */
  #share(now) {
    return Math.max(0, Math.min(1, 1 - (now - this.#offsetSince) / this.#smooth));
  }
}

/**
 * @typedef {object} SpawnOutcome
 * @property {Record<string, any>} confirmed Those that the server has too, as of now.
 * @property {Record<string, any>} withdrawn Those that were never there.
 * @property {Record<string, any>} ended Those that the server had, and has no more.
 */

/**
 * What a player's inputs bring about before the server says so: shots, or sounds.
 *
 * Client and server have to find the same key for the same thing. A predicted thing is shown until the
 * server says otherwise; then the server's own copy is not to be shown a second time: ask `has(key)`.
 */
export class PredictedSpawns {
  /** @type {Map<string, {number: number, thing: any, confirmed: boolean}>} */
  #entries = new Map();

  /** How many things are shown. */
  get size() {
    return this.#entries.size;
  }

  /** @param {string} key What a thing is called. */
  has(key) {
    return this.#entries.has(key);
  }

  /** Iterate over the things. */
  *[Symbol.iterator]() {
    for (const { thing } of this.#entries.values()) yield thing;
  }

  /**
   * Show a thing from now on; return whether it was added: not twice, and no more than 256.
   *
   * @param {string} key What it is called, here as in the server's state.
   * @param {number} number The number of the input that brought it about.
   * @param {any} thing What is shown.
   */
  add(key, number, thing) {
    if (this.#entries.has(key) || this.#entries.size >= MAX_SPAWNS) return false;
    this.#entries.set(key, { number, thing, confirmed: false });
    return true;
  }

  /**
   * Take in a state of the server's; return what became of the predicted things.
   *
   * @param {number | null} confirmed The number of the last input that it contains; null for none.
   * @param {Iterable<string>} present The keys of what the server has in it.
   * @returns {SpawnOutcome}
   */
  reconcile(confirmed, present) {
    const there = new Set(present);
    const outcome = { confirmed: named(), withdrawn: named(), ended: named() };
    for (const [key, entry] of this.#entries) {
      if (there.has(key)) {
        if (!entry.confirmed) outcome.confirmed[key] = entry.thing;
        entry.confirmed = true;
      } else if (entry.confirmed) {
        outcome.ended[key] = entry.thing;
        this.#entries.delete(key);
      } else if (confirmed !== null && entry.number <= confirmed) {
        outcome.withdrawn[key] = entry.thing;
        this.#entries.delete(key);
      }
    }
    return outcome;
  }
}
