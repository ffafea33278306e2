/**
 * States of one object, a ship say, as plain data: copies of them, and what is between two of them.
 *
 * Only + - * / and square roots are used: these give the same as in Python, to the last bit.
 *
 * @module
 */

/** @typedef {Record<string, any>} State One object, as plain data. */

/**
 * The most seconds that something may be shown late, or wrong: whoever gives more meant milliseconds.
 */
export const LONGEST = 5;

/**
 * @template T
 * @param {T} value Plain data.
 * @returns {T} A copy that shares nothing with it.
 */
export function copied(value) {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return /** @type {T} */ (value.map(copied));
  /** @type {State} */
  const copy = Object.create(Object.getPrototypeOf(value));
  for (const [key, item] of Object.entries(value)) copy[key] = copied(item);
  return /** @type {T} */ (copy);
}

/**
 * Return the shorter way around between two angles.
 *
 * @param {number} way A way, in radians.
 */
export function shorterWay(way) {
  if (!(Math.abs(way) > Math.PI && Math.abs(way) < Infinity)) return way;
  const turns = way / (2 * Math.PI);
  return way - Math.trunc(turns >= 0 ? turns + 0.5 : turns - 0.5) * (2 * Math.PI);
}

/** The numbers of a state that change little by little, and so have values in between. */
export class StateFields {
  #names;
  #angles;

  /**
   * @param {string | string[]} fields Their names.
   * @param {string | string[]} angle The names of those that are angles in radians.
   */
  constructor(fields, angle) {
    if (fields === undefined) throw new TypeError('fields: expected the names of the numbers that move, ["x", "y"] say');
    const angles = [angle].flat();
    this.#names = [...new Set([...[fields].flat(), ...angles])];
    this.#angles = new Set(angles);
  }

  /**
   * Check that a state has these fields, and numbers in them.
   *
   * @param {State} state Any state.
   */
  check(state) {
    const wrong = this.#names.find((name) => typeof state?.[name] !== "number");
    if (wrong === undefined) return;
    const known = Object.keys(state ?? {}).join(", ") || "none";
    throw new RangeError(`fields: expected objects with a number in the field "${wrong}", got the fields ${known}`);
  }

  /**
   * Return what has to be added to the other state to get to the one.
   *
   * @param {State} one A state.
   * @param {State} other Another one.
   */
  difference(one, other) {
    return this.#names.map((name) => {
      const found = one[name] - other[name];
      return this.#angles.has(name) ? shorterWay(found) : found;
    });
  }

  /**
   * Return a copy of a state that is moved by a share of an offset.
   *
   * @param {State} state The state.
   * @param {number[]} offset The offset.
   * @param {number} share The share.
   */
  moved(state, offset, share) {
    const copy = copied(state);
    this.#names.forEach((name, at) => (copy[name] = state[name] + Number(offset[at]) * share));
    return copy;
  }
}

/**
 * Return whether a number has changed by more than *snap*, or to what is no number: it was nowhere in
 * between.
 *
 * @param {number[]} offset How much the numbers have changed.
 * @param {number} snap How much they may.
 */
export function isLeap(offset, snap) {
  return offset.some((each) => !(Math.abs(each) <= snap && Math.abs(each) < Infinity));
}

/** @param {number[]} offset An offset. */
export function size(offset) {
  let total = 0;
  for (const each of offset) total += each * each;
  return Math.sqrt(total);
}

/**
 * @param {number[]} one An offset.
 * @param {number[]} other Another one.
 * @param {number} share How much of it is added.
 */
export function added(one, other, share) {
  return one.map((each, at) => each + Number(other[at]) * share);
}

/** @returns {Record<string, State>} A map without a prototype: players choose its keys. */
export function named() {
  return Object.create(null);
}
