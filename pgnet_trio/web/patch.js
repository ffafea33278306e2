/**
 * Patches of a state: what a state and a patch make. "The format of a patch" in the protocol's page
 * says what a patch is.
 *
 * States are frozen, and a new one shares with the old one what did not change. Patches have to be
 * read with `wholeFloats`: whether a step is 2 or 2.0 matters.
 *
 * @module
 */

import { CodecError } from "./errors.js";
import { MAX_DEPTH, WholeFloat, kindOf } from "./plain_data.js";

/** The value of a key that is not there. */
export const MISSING = Symbol("a new key");

/**
 * Makes something of an old value that is inside of so many maps and arrays.
 *
 * @typedef {(old: any, change: any, depth: number) => any} Change
 */

/**
 * Return the new state that an old one and a patch make.
 *
 * @param {any} old The state that the patch was made for.
 * @param {any} patch The patch.
 * @returns {any} The new state; the old one where nothing changed.
 */
export function apply(old, patch) {
  return patch === null ? old : changed(old, patch, 0);
}

/** @type {Change} */
export function changed(old, change, depth) {
  if (isMap(change)) return merged(old, change, depth, changed);
  if (!Array.isArray(change)) return settled(change, depth);
  if (change.length > 1) return edited(old, change, depth);
  if (!change.length) throw misfit("the removal of a key", "no key");
  return settled(change[0], depth);
}

/**
 * Return what changes make of a map.
 *
 * @param {any} old The map, if it is one.
 * @param {Record<string, any>} changes The changes by key.
 * @param {number} depth How many maps and arrays it is inside of.
 * @param {Change} applyChange Does the same as `changed` for the values, or more.
 */
export function merged(old, changes, depth, applyChange) {
  if (!isMap(old)) throw misfit("changes to a map", nameOf(old));
  descend(depth);
  const next = copyOf(old);
  for (const key of Object.keys(changes)) {
    const change = changes[key];
    if (Array.isArray(change) && !change.length) {
      if (!(key in next)) throw misfit("the removal of a key", "no key");
      delete next[key];
    } else {
      next[key] = applyChange(key in old ? old[key] : MISSING, change, depth + 1);
    }
  }
  return Object.freeze(next);
}

/**
 * Return what an edit makes of an array.
 *
 * @param {any} old The array, if it is one.
 * @param {any[]} edit The edit, of at least one step.
 * @param {number} depth How many maps and arrays it is inside of.
 */
export function edited(old, edit, depth) {
  if (!Array.isArray(old)) throw misfit("changes to a list", nameOf(old));
  descend(depth);
  if (!isInt(edit[0]) || edit[0] < 0) throw misfit("an edit that keeps no number of items", "a list");
  /** @type {any[]} */
  const next = [];
  let at = 0;
  for (let index = 0; index < edit.length; index++) {
    const step = edit[index];
    if (isInt(step)) {
      const count = Math.abs(step);
      if (count > old.length - at) throw misfit("steps over more", `${old.length} items`);
      for (let kept = 0; kept < step; kept++) next.push(old[at + kept]);
      at += count;
    } else if (Array.isArray(step)) {
      for (const value of step) next.push(settled(value, depth + 1));
    } else {
      if (at === old.length) throw misfit("the change of one more", `${old.length} items`);
      if (isMap(step)) {
        next.push(merged(old[at], step, depth + 1, changed));
      } else if (step === null) {
        const inner = edit[++index];
        if (!Array.isArray(inner) || inner.length < 2) throw misfit("no edit of it", "a list in a list");
        next.push(edited(old[at], inner, depth + 1));
      } else {
        throw misfit(`a step that is ${kindOf(step)}`, "a list");
      }
      at++;
    }
  }
  while (at < old.length) next.push(old[at++]);
  return Object.freeze(next);
}

/**
 * Return a value of a patch as it stands in a state.
 *
 * @param {any} value The value.
 * @param {number} depth How many maps and arrays it is inside of.
 * @returns {any}
 */
export function settled(value, depth) {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof WholeFloat) return value.value;
  descend(depth);
  if (Array.isArray(value)) return Object.freeze(value.map((item) => settled(item, depth + 1)));
  const map = Object.create(null);
  for (const key of Object.keys(value)) map[key] = settled(value[key], depth + 1);
  return Object.freeze(map);
}

/**
 * Return whether a value is a map.
 *
 * @param {unknown} value The value.
 * @returns {value is Record<string, any>}
 */
export function isMap(value) {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof WholeFloat)
  );
}

/**
 * Return whether a value of a patch is an integer, of any size.
 *
 * @param {unknown} value The value.
 * @returns {value is number}
 */
export function isInt(value) {
  return Number.isSafeInteger(value);
}

/**
 * Return a copy of a map that may be changed.
 *
 * @param {Record<string, any>} map The map.
 * @returns {Record<string, any>}
 */
export function copyOf(map) {
  return Object.assign(Object.create(null), map);
}

/**
 * Return the error of a patch that does not fit the state.
 *
 * @param {string} change What the patch has.
 * @param {string} old What the state has.
 */
export function misfit(change, old) {
  return new CodecError(`a patch has ${change}, and the state ${old} there`);
}

/**
 * Return what errors call an old value.
 *
 * @param {unknown} old The value.
 */
export function nameOf(old) {
  return old === MISSING ? "no such key" : kindOf(old);
}

/** @param {number} depth */
function descend(depth) {
  if (depth === MAX_DEPTH) throw new CodecError(`expected a state of at most ${MAX_DEPTH} levels, got more`);
}
