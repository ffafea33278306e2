/**
 * Patches in which tables stand column by column, of the feature `columns`. "Tables column by
 * column" in the protocol's page says what they are.
 *
 * The protocol tells 1 from 1.0, and JavaScript does not. Where a sum depends on it, which takes
 * numbers of 2⁵³, the patch counts as one that does not fit: the client then asks for the whole state.
 *
 * @module
 */

import {
  MISSING,
  changed as changedWithoutColumns,
  copyOf,
  edited,
  isInt,
  isMap,
  merged,
  misfit,
  nameOf,
  settled,
} from "./patch.js";

const LOWEST = -(2n ** 63n);
const HIGHEST = 2n ** 63n - 1n;
const EXACT = 2n ** 53n;

// By how much a number of one byte can grow.
const MOST_GROWTH = 8;

/**
 * Return the new state that an old one and a patch make: see `apply`.
 *
 * @param {any} old The state that the patch was made for.
 * @param {any} patch The patch, which may have columns.
 * @returns {any}
 */
export function applyColumns(old, patch) {
  return patch === null ? old : changed(old, patch, 0);
}

/**
 * Return by how many bytes a state may grow beyond the size of its patch, at most.
 *
 * @param {any} patch A patch that `applyColumns` has applied.
 * @returns {number}
 */
export function growth(patch) {
  if (isMap(patch)) return Object.values(patch).reduce((sum, change) => sum + growth(change), 0);
  if (!Array.isArray(patch) || patch.length < 2 || patch[0] !== null) return 0;
  let cells = 0;
  let rows = 0;
  for (const [, runs] of patch[1]) {
    if (runs !== null) {
      rows = 0;
      for (let index = 1; index < runs.length; index += 2) rows += runs[index];
    }
    cells += rows;
  }
  return cells * MOST_GROWTH + (patch.length > 2 ? growth(patch[2]) : 0);
}

/** @type {import("./patch.js").Change} */
function changed(old, change, depth) {
  if (isMap(change)) return merged(old, change, depth, changed);
  if (Array.isArray(change) && change.length > 1 && change[0] === null) return tabled(old, change, depth);
  return changedWithoutColumns(old, change, depth);
}

/** @type {import("./patch.js").Change} */
function tabled(old, change, depth) {
  const isList = Array.isArray(old);
  if (!isList && !isMap(old)) throw misfit("columns", nameOf(old));
  if (change.length > 3) throw misfit("more than one change after columns", "a table");
  const keys = isList ? Object.keys(old) : Object.keys(old).sort(byCodePoints);
  const before = isList ? old : keys.map((key) => old[key]);
  const after = [...before];
  changeCells(before, after, change[1]);
  /** @type {any} */
  let next;
  if (isList) {
    next = after;
  } else {
    next = copyOf(old);
    keys.forEach((key, row) => (next[key] = after[row]));
  }
  Object.freeze(next);
  if (change.length === 2) return next;
  const rest = change[2];
  if (isMap(rest)) return merged(next, rest, depth, changed);
  if (Array.isArray(rest) && rest.length > 1) return edited(next, rest, depth);
  throw misfit("no changes after columns", "a table");
}

/**
 * Put the rows that columns change into `after`.
 *
 * @param {readonly any[]} before
 * @param {any[]} after
 * @param {any} columns
 */
function changeCells(before, after, columns) {
  if (!Array.isArray(columns)) throw misfit("no list of columns", "a table");
  const fields = new Set();
  /** @type {number[] | null} */
  let rows = null;
  for (const column of columns) {
    if (!Array.isArray(column) || column.length !== 3) throw misfit("no column of three parts", "a table");
    const [field, runs, entries] = column;
    if (typeof field !== "string" || fields.has(field)) throw misfit("no single field for a column", "a table");
    fields.add(field);
    if (runs !== null) rows = rowsOf(runs, before.length);
    if (rows === null) throw misfit("no runs in the first column", "a table");
    const each = Array.isArray(entries) ? entries : null;
    if (each ? each.length !== rows.length : typeof entries === "string" || isMap(entries)) {
      throw misfit("no entry for each row", `${rows.length} rows there`);
    }
    rows.forEach((row, index) => {
      const entry = each ? each[index] : entries;
      let record = after[row];
      if (record === before[row]) {
        if (!isMap(record)) throw misfit("the change of a row", nameOf(record));
        after[row] = record = copyOf(record);
      }
      record[field] = cellOf(field in record ? record[field] : MISSING, entry);
    });
  }
  after.forEach((record, row) => record !== before[row] && Object.freeze(record));
}

/**
 * @param {any} runs
 * @param {number} count
 */
function rowsOf(runs, count) {
  if (!Array.isArray(runs) || runs.length % 2) throw misfit("runs that are no pairs", "a table");
  /** @type {number[]} */
  const rows = [];
  let end = 0;
  for (let index = 0; index < runs.length; index += 2) {
    const [skip, change] = [runs[index], runs[index + 1]];
    if (!isInt(skip) || skip < 0 || !isInt(change) || change < 1) throw misfit("odd runs", "a table");
    const start = end + skip;
    end = start + change;
    if (end > count) throw misfit("runs over more", `${count} rows`);
    for (let row = start; row < end; row++) rows.push(row);
  }
  return rows;
}

/**
 * Return the new cell that an old one and an entry make.
 *
 * @param {any} old
 * @param {any} entry
 */
function cellOf(old, entry) {
  if (old === MISSING || (typeof old === "object" && old !== null)) throw misfit("the change of a cell", nameOf(old));
  if (typeof entry === "number" || typeof entry === "bigint") {
    // A float that is whole is a `WholeFloat`, so a whole number is an integer.
    return Number.isInteger(entry) || typeof entry === "bigint" ? sum(old, entry) : entry;
  }
  const value = Array.isArray(entry) && entry.length === 1 ? entry[0] : entry;
  if (Array.isArray(value) || isMap(value)) throw misfit("an entry that is no cell", "a cell");
  return settled(value, 0);
}

/**
 * Return a cell and an integer that is added to it.
 *
 * @param {any} cell
 * @param {number | bigint} step
 */
function sum(cell, step) {
  if (typeof cell === "bigint") return exactSum(cell, step);
  if (typeof cell !== "number") throw misfit("an integer to add", nameOf(cell));
  const isLarge = typeof step === "bigint" && (step > EXACT || step < -EXACT);
  const near = cell + Number(step);
  if (!Number.isSafeInteger(cell)) {
    // An integer of this size would be a BigInt, so the cell is a float.
    if (isLarge) throw misfit("more than 2⁵³ to add", "a float");
    return near;
  }
  if (isLarge) return exactSum(BigInt(cell), step);
  if (Number.isSafeInteger(near)) return near;
  throw misfit("a large number to add", "a number that may be an integer or a float");
}

/**
 * @param {bigint} cell
 * @param {number | bigint} step
 */
function exactSum(cell, step) {
  const value = cell + BigInt(step);
  if (value < LOWEST || value > HIGHEST) throw misfit("too much to add", "an integer");
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/**
 * Compare texts by their code points, which is the order of their bytes in UTF-8.
 *
 * @param {string} one
 * @param {string} other
 */
export function byCodePoints(one, other) {
  const shorter = Math.min(one.length, other.length);
  for (let index = 0; index < shorter; index++) {
    const here = one.charCodeAt(index);
    const there = other.charCodeAt(index);
    if (here !== there) return rank(here) - rank(there);
  }
  return one.length - other.length;
}

/**
 * Return where a unit of UTF-16 stands among code points: surrogates stand for what comes last.
 *
 * @param {number} unit
 */
function rank(unit) {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}
