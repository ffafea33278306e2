/**
 * Interpolation: what others do is shown a little late, and evenly, however the states arrive. As
 * `interpolator.py`, which explains the figures.
 *
 * @import { State } from "./states.js"
 * @module
 */

import { LONGEST, StateFields, copied, isLeap, named } from "./states.js";

const MAX_EXTRAPOLATION = 0.1;
const MAX_JITTER = 0.1;
const MAX_DELAY = 0.19;
const WINDOW = 5;
const MAX_ARRIVALS = 256;
const MAX_SAMPLES = 1024;
const MAX_INTERVALS = 32;
const FIRST_INTERVAL = 0.05;
const SETTLE = 0.1;
const SLOWER = 0.15;
const FASTER = 0.1;
const MAX_LAG = 1;

/**
 * @typedef {object} InterpolatorOptions
 * @property {string | string[]} fields The names of the numbers that are shown in between. Other fields change
 *   when their state is due.
 * @property {number | "auto"} [delay] Seconds that the shown time is behind the clock. "auto", which
 *   is the default, follows what is measured.
 * @property {string | string[]} [angle] The names of fields that are angles in radians.
 * @property {number} [snap] Where a field changes by more than this from one state to the next, the
 *   object was nowhere in between.
 */

/** @typedef {{time: number, states: Record<string, State>}} Sample */

/**
 * Shows objects between two states of the server, so late that there mostly are two.
 *
 * Beyond the latest state, objects go on as they did, for 100 ms at most, and then stand still.
 */
export class Interpolator {
  /** Seconds that the time shown is, or will be, behind the clock. */
  delay;
  /**
   * The room's time that `show` last showed; null before that.
   *
   * @type {number | null}
   */
  time = null;
  #isAuto;
  #snap;
  #fields;
  /** @type {Sample[]} */
  #samples = [];
  /** @type {{now: number, late: number}[]} */
  #arrivals = [];
  /** @type {number[]} */
  #intervals = [];
  #interval = FIRST_INTERVAL;
  #now = 0;
  /** @type {Record<string, State>} */
  #shown = {};
  /** @type {Map<string, number[]>} */
  #offsets = new Map();
  #offsetsSince = 0;
  #isChecked = false;

  /** @param {InterpolatorOptions} options How to interpolate. */
  constructor({ fields, delay = "auto", angle = [], snap = Infinity }) {
    if (delay !== "auto" && !(delay >= 0 && delay <= LONGEST)) {
      throw new RangeError(`delay: expected 0 to ${LONGEST} s, or "auto"; got ${delay}`);
    }
    this.delay = delay === "auto" ? FIRST_INTERVAL : delay;
    this.#isAuto = delay === "auto";
    this.#snap = snap;
    this.#fields = new StateFields(fields, angle);
  }

  /**
   * Take in a state of the server's.
   *
   * @param {number} time The room's time of the state; one that is not later than the last is ignored.
   * @param {Record<string, State>} states The objects by their names; they have to stay as they are.
   * @param {number} now When it came, on the clock.
   */
  push(time, states, now) {
    for (const name in states) {
      if (this.#isChecked) break;
      this.#fields.check(/** @type {State} */ (states[name]));
      this.#isChecked = true;
    }
    const samples = this.#samples;
    const last = samples.at(-1);
    if (last !== undefined) {
      const gap = time - last.time;
      if (gap <= 0) return;
      this.#noteInterval(gap);
      // Nothing changed meanwhile, or else there would have been states.
      if (gap > 2 * this.#interval) {
        samples.push({ time: time - this.#interval, states: last.states });
      }
    }
    const newest = samples.at(-1);
    const isBeyond = this.time !== null && newest !== undefined && this.time > newest.time;
    samples.push({ time, states });
    while (samples.length > MAX_SAMPLES) samples.shift();
    this.#noteArrival(now, now - time);
    if (isBeyond) this.#settle(now);
  }

  /**
   * Return the objects to show in this frame by their names, as copies.
   *
   * @param {number} now The time on the clock.
   * @returns {Record<string, State>}
   */
  show(now) {
    if (this.#samples.length === 0) return named();
    this.time = this.#advance(now);
    const share = 1 - (now - this.#offsetsSince) / SETTLE;
    if (share <= 0) this.#offsets.clear();
    const shown = this.#at(this.time);
    for (const [name, offset] of this.#offsets) {
      const state = shown[name];
      if (state !== undefined) shown[name] = this.#fields.moved(state, offset, Math.min(1, share));
    }
    this.#shown = shown;
    return Object.assign(named(), shown);
  }

  /** @param {number} gap Seconds between the times of two states. */
  #noteInterval(gap) {
    this.#intervals.push(gap);
    if (this.#intervals.length > MAX_INTERVALS) this.#intervals.shift();
    this.#interval = Number(sorted(this.#intervals)[this.#intervals.length >> 1]);
  }

  /**
   * @param {number} now When a state came.
   * @param {number} late How long after its time.
   */
  #noteArrival(now, late) {
    const arrivals = this.#arrivals;
    arrivals.push({ now, late });
    while (arrivals.length > MAX_ARRIVALS || Number(arrivals[0]?.now) < now - WINDOW) {
      arrivals.shift();
    }
    if (!this.#isAuto) return;
    const latest = sorted(arrivals.map((arrival) => arrival.late));
    const first = Number(latest[0]);
    const count = latest.length;
    const jitter = Number(latest[count - 1 - Math.floor(count / 100)]) - first;
    const least = first + this.#interval;
    this.delay = Math.min(least + jitter, Math.max(least + MAX_JITTER, MAX_DELAY));
  }

  /**
   * Return the time to show: it runs evenly, and never back.
   *
   * @param {number} now The time on the clock.
   */
  #advance(now) {
    const wanted = now - this.delay;
    let passed = now - this.#now;
    this.#now = now;
    if (this.time === null) return wanted;
    passed = Math.max(0, passed);
    const gap = wanted - (this.time + passed);
    if (gap > MAX_LAG) return wanted;
    return this.time + passed + Math.max(-SLOWER * passed, Math.min(FASTER * passed, gap));
  }

  /**
   * Return the objects at a time of the room.
   *
   * @param {number} time The time.
   * @returns {Record<string, State>}
   */
  #at(time) {
    const samples = this.#samples;
    while (samples[2] !== undefined && samples[2].time <= time) samples.shift();
    const isPast = samples[1] !== undefined && samples[1].time <= time;
    const before = isPast ? samples[0] : undefined;
    const older = /** @type {Sample} */ (isPast ? samples[1] : samples[0]);
    const newer = isPast ? samples[2] : samples[1];
    if (time <= older.time) return copiedAll(older.states);
    if (newer !== undefined) {
      return this.#between(older, newer, older, (time - older.time) / (newer.time - older.time));
    }
    if (before === undefined) return copiedAll(older.states);
    const ahead = Math.min(time - older.time, MAX_EXTRAPOLATION);
    return this.#between(before, older, older, ahead / (older.time - before.time));
  }

  /**
   * Return the base's objects, each moved by so much of its way from older to newer.
   *
   * @param {Sample} older The older state.
   * @param {Sample} newer The newer state.
   * @param {Sample} base One of them.
   * @param {number} way The way.
   */
  #between(older, newer, base, way) {
    const found = named();
    for (const [name, state] of Object.entries(base.states)) {
      const [from, to] = [older.states[name], newer.states[name]];
      found[name] = copied(state);
      if (from === undefined || to === undefined) continue;
      const difference = this.#fields.difference(to, from);
      if (isLeap(difference, this.#snap)) continue;
      found[name] = this.#fields.moved(state, difference, way);
    }
    return found;
  }

  /**
   * Note how far what was shown is from what should have been, as is known now.
   *
   * @param {number} now The time on the clock.
   */
  #settle(now) {
    const right = this.#at(Number(this.time));
    this.#offsets.clear();
    this.#offsetsSince = now;
    for (const [name, state] of Object.entries(this.#shown)) {
      const known = right[name];
      if (known === undefined) continue;
      const offset = this.#fields.difference(state, known);
      if (offset.some(Boolean) && !isLeap(offset, this.#snap)) this.#offsets.set(name, offset);
    }
  }
}

/** @param {Record<string, State>} states Objects by their names. */
function copiedAll(states) {
  const found = named();
  for (const [name, state] of Object.entries(states)) found[name] = copied(state);
  return found;
}

/** @param {number[]} numbers Some numbers. */
function sorted(numbers) {
  return [...numbers].sort((one, other) => one - other);
}
