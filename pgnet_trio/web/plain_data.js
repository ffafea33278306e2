/**
 * The data that travels: null, booleans, numbers, BigInts, texts, arrays and maps.
 *
 * @module
 */

/** Levels of nested maps and arrays. */
export const MAX_DEPTH = 100;

/** The integers that travel have 64 bits. */
export const LOWEST = -(2n ** 63n);
export const HIGHEST = 2n ** 63n - 1n;

/** A float that is whole, for readers who have to tell 1.0 from 1. */
export class WholeFloat {
  /** @param {number} value The number. */
  constructor(value) {
    /** @type {number} */
    this.value = value;
  }
}

/**
 * Return a word for what a value is, for errors.
 *
 * @param {unknown} value The value.
 */
export function kindOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (value instanceof WholeFloat) return "a number";
  switch (typeof value) {
    case "object":
      return isPlainObject(value) ? "an object" : `a ${value.constructor?.name || "special object"}`;
    case "undefined":
      return "undefined";
    case "string":
      return "a text";
    default:
      return `a ${typeof value}`;
  }
}

/**
 * Return whether an object is nothing but keys and values.
 *
 * @param {object} value The object.
 */
export function isPlainObject(value) {
  const prototype = Object.getPrototypeOf(value);
  // The second look finds the objects of other frames of the page.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
