/**
 * MessagePack as the protocol has it: plain data, and nothing else.
 *
 * Two things are not as in most libraries. Maps become objects without a prototype, so that
 * `__proto__` is a key like any other. And numbers keep what they are: an integer beyond 2⁵³ becomes
 * a BigInt, and -0 stays what it is.
 *
 * @module
 */

import { CodecError } from "./errors.js";

/** Levels of nested maps and arrays. */
export const MAX_DEPTH = 100;

const LOWEST = -(2n ** 63n);
const HIGHEST = 2n ** 63n - 1n;

const utf8 = new TextEncoder();
// `ignoreBOM`: otherwise a text would lose the U+FEFF that it begins with.
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A float that is whole, for readers who have to tell 1.0 from 1. */
export class WholeFloat {
  /** @param {number} value The number. */
  constructor(value) {
    /** @type {number} */
    this.value = value;
  }
}

/**
 * How data is read.
 *
 * @typedef {object} Reading
 * @property {boolean} [frozen] Whether nobody may change it.
 * @property {boolean} [wholeFloats] Whether floats that are whole become `WholeFloat`.
 * @property {boolean} [maps] Whether maps become `Map`, which keeps the order of digits too.
 */

/** Writes MessagePack into bytes that grow. */
export class Writer {
  #bytes = new Uint8Array(128);
  #view = new DataView(this.#bytes.buffer);
  #size = 0;

  /** @returns {Uint8Array} What was written. */
  finish() {
    return this.#bytes.slice(0, this.#size);
  }

  /** @param {number} count How many items follow. */
  arrayHead(count) {
    if (count < 16) this.#byte(0x90 | count);
    else if (count < 0x10000) this.#number(0xdc, 2, count);
    else this.#number(0xdd, 4, count);
    return this;
  }

  /** @param {Uint8Array} bytes Bytes that are MessagePack already. */
  raw(bytes) {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** @param {Uint8Array} bytes Bytes, as `bin`. */
  bin(bytes) {
    const count = bytes.length;
    if (count < 0x100) this.#number(0xc4, 1, count);
    else if (count < 0x10000) this.#number(0xc5, 2, count);
    else this.#number(0xc6, 4, count);
    return this.raw(bytes);
  }

  /**
   * @param {string} text The text.
   * @param {string} path Where it is, for errors.
   */
  text(text, path) {
    if (typeof text !== "string") throw new CodecError(`${path}: expected a text, got ${kindOf(text)}`);
    // With the flag `u`, half of a surrogate pair is only found where the other half is missing.
    if (/[\uD800-\uDFFF]/u.test(text)) {
      throw new CodecError(`${path}: expected text that UTF-8 can carry, got a lone surrogate; remove it`);
    }
    const bytes = utf8.encode(text);
    const count = bytes.length;
    if (count < 32) this.#byte(0xa0 | count);
    else if (count < 0x100) this.#number(0xd9, 1, count);
    else if (count < 0x10000) this.#number(0xda, 2, count);
    else this.#number(0xdb, 4, count);
    return this.raw(bytes);
  }

  /** @param {number} value An integer from -2⁵³ to 2⁵³. */
  int(value) {
    if (value >= 0) {
      if (value < 0x80) this.#byte(value);
      else if (value < 0x100) this.#number(0xcc, 1, value);
      else if (value < 0x10000) this.#number(0xcd, 2, value);
      else if (value < 0x100000000) this.#number(0xce, 4, value);
      else this.bigint(BigInt(value), "");
    } else if (value >= -32) this.#byte(value & 0xff);
    else if (value >= -0x80) this.#number(0xd0, 1, value & 0xff);
    else if (value >= -0x8000) this.#number(0xd1, 2, value & 0xffff);
    else if (value >= -0x80000000) this.#number(0xd2, 4, value >>> 0);
    else this.bigint(BigInt(value), "");
    return this;
  }

  /**
   * @param {bigint} value An integer.
   * @param {string} path Where it is, for errors.
   */
  bigint(value, path) {
    if (value < LOWEST || value > HIGHEST) {
      throw new CodecError(`${path}: expected an integer of at most 64 bits, got a larger one; send it as text`);
    }
    this.#byte(value < 0n ? 0xd3 : 0xcf);
    const at = this.#grow(8);
    this.#view.setBigInt64(at, value);
    return this;
  }

  /**
   * Write plain data: null, a boolean, number, BigInt, text, array, `Map`, or plain object.
   *
   * @param {unknown} value The data.
   * @param {string} path Where it is, for errors.
   * @param {number} [depth] How many maps and arrays it is inside of.
   * @returns {this}
   */
  data(value, path, depth = 0) {
    switch (typeof value) {
      case "string":
        return this.text(value, path);
      case "number":
        return this.#anyNumber(value, path);
      case "bigint":
        return Number.isSafeInteger(Number(value)) ? this.int(Number(value)) : this.bigint(value, path);
      case "boolean":
        this.#byte(value ? 0xc3 : 0xc2);
        return this;
      case "object":
        if (value === null) {
          this.#byte(0xc0);
          return this;
        }
        if (depth === MAX_DEPTH) {
          throw new CodecError(`${path.slice(0, 200)}: expected at most ${MAX_DEPTH} levels, got more`);
        }
        if (Array.isArray(value)) return this.#array(value, path, depth + 1);
        if (value instanceof Map) return this.#map([...value], path, depth + 1);
        if (isPlainObject(value)) return this.#map(Object.entries(value), path, depth + 1);
    }
    throw new CodecError(
      `${path}: expected an object, array, text, number, boolean or null, got ${kindOf(value)}; ` +
        "turn it into one of these",
    );
  }

  /**
   * @param {number} value
   * @param {string} path
   */
  #anyNumber(value, path) {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return this.int(value);
    if (!Number.isFinite(value)) {
      throw new CodecError(`${path}: expected a finite number, got ${value}; send null, or text`);
    }
    this.#byte(0xcb);
    const at = this.#grow(8);
    this.#view.setFloat64(at, value);
    return this;
  }

  /**
   * @param {unknown[]} items
   * @param {string} path
   * @param {number} depth
   */
  #array(items, path, depth) {
    this.arrayHead(items.length);
    for (let index = 0; index < items.length; index++) this.data(items[index], `${path}[${index}]`, depth);
    return this;
  }

  /**
   * @param {[unknown, unknown][]} entries
   * @param {string} path
   * @param {number} depth
   */
  #map(entries, path, depth) {
    const count = entries.length;
    if (count < 16) this.#byte(0x80 | count);
    else if (count < 0x10000) this.#number(0xde, 2, count);
    else this.#number(0xdf, 4, count);
    for (const [key, value] of entries) {
      this.text(/** @type {string} */ (key), `${path}: a key`).data(value, `${path}.${key}`, depth);
    }
    return this;
  }

  /** @param {number} value */
  #byte(value) {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }

  /**
   * @param {number} head
   * @param {1 | 2 | 4} size
   * @param {number} value
   */
  #number(head, size, value) {
    const at = this.#grow(1 + size);
    this.#bytes[at] = head;
    if (size === 1) this.#bytes[at + 1] = value;
    else if (size === 2) this.#view.setUint16(at + 1, value);
    else this.#view.setUint32(at + 1, value);
  }

  /**
   * Make room for some bytes, and return where it is. Call it before the bytes are looked up: they may
   * be others afterwards.
   *
   * @param {number} size
   */
  #grow(size) {
    const at = this.#size;
    this.#size += size;
    if (this.#size > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#size, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

/** Reads MessagePack that somebody else wrote: everything in it is checked. */
export class Reader {
  #bytes;
  #view;
  #at = 0;

  /** @param {Uint8Array} bytes The MessagePack. */
  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** How many bytes were read. */
  get position() {
    return this.#at;
  }

  /** Check that nothing is left. */
  end() {
    const left = this.#bytes.length - this.#at;
    if (left) throw new CodecError(`expected the end of the data, got ${left} bytes more`);
  }

  /** @returns {number} How many items of an array follow. */
  arrayHead() {
    const head = this.#byte();
    if (head >> 4 === 9) return head & 15;
    if (head === 0xdc) return this.#uint(2);
    if (head === 0xdd) return this.#uint(4);
    throw unexpected("an array", head);
  }

  /** @returns {number} An integer that a number holds exactly. */
  int() {
    const value = this.anyInt();
    if (typeof value === "bigint") throw new CodecError(`expected an integer below 2⁵³, got ${value}`);
    return value;
  }

  /** @returns {number | bigint} An integer. */
  anyInt() {
    const head = this.#byte();
    if (!isInt(head)) throw unexpected("an integer", head);
    return this.#int(head);
  }

  /** @returns {number} A finite number. */
  float() {
    const value = this.#value(this.#byte(), {}, MAX_DEPTH);
    if (typeof value === "bigint") return Number(value);
    if (typeof value !== "number") throw new CodecError(`expected a number, got ${kindOf(value)}`);
    return value;
  }

  /** @returns {boolean} A boolean. */
  boolean() {
    const head = this.#byte();
    if (head !== 0xc2 && head !== 0xc3) throw unexpected("a boolean", head);
    return head === 0xc3;
  }

  /** @returns {string} A text. */
  text() {
    const head = this.#byte();
    const size = this.#textSize(head);
    if (size < 0) throw unexpected("a text", head);
    return this.#text(size);
  }

  /** @returns {Uint8Array} Bytes. */
  bin() {
    const head = this.#byte();
    if (head < 0xc4 || head > 0xc6) throw unexpected("bytes", head);
    const size = this.#uint(/** @type {1 | 2 | 4} */ (1 << (head - 0xc4)));
    return this.#bytes.slice(this.#skip(size), this.#at);
  }

  /** @returns {boolean} Whether a nil follows, which is skipped then. */
  nil() {
    if (this.#bytes[this.#at] !== 0xc0) return false;
    this.#at++;
    return true;
  }

  /**
   * @param {Reading} [reading] How it is read.
   * @returns {any} Plain data.
   */
  data(reading = {}) {
    return this.#value(this.#byte(), reading, 0);
  }

  /**
   * @param {Reading} [reading] How it is read.
   * @returns {any} Plain data that is a map.
   */
  map(reading = {}) {
    const head = this.#byte();
    if (head >> 4 !== 8 && head !== 0xde && head !== 0xdf) throw unexpected("a map", head);
    return this.#value(head, reading, 0);
  }

  /**
   * @param {number} head
   * @param {Reading} reading
   * @param {number} depth
   * @returns {any}
   */
  #value(head, reading, depth) {
    if (isInt(head)) return this.#int(head);
    const size = this.#textSize(head);
    if (size >= 0) return this.#text(size);
    if (head >> 4 === 8) return this.#map(head & 15, reading, depth + 1);
    if (head >> 4 === 9) return this.#array(head & 15, reading, depth + 1);
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return this.#float(this.#view.getFloat32(this.#skip(4)), reading);
      case 0xcb:
        return this.#float(this.#view.getFloat64(this.#skip(8)), reading);
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(head === 0xdc ? 2 : 4), reading, depth + 1);
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(head === 0xde ? 2 : 4), reading, depth + 1);
    }
    throw unexpected("plain data", head);
  }

  /**
   * @param {number} value
   * @param {Reading} reading
   */
  #float(value, reading) {
    if (!Number.isFinite(value)) throw new CodecError(`expected a finite number, got ${value}`);
    return reading.wholeFloats && Number.isInteger(value) ? new WholeFloat(value) : value;
  }

  /**
   * @param {number} count
   * @param {Reading} reading
   * @param {number} depth
   */
  #array(count, reading, depth) {
    this.#descend(count, depth);
    /** @type {any[]} */
    const items = [];
    for (let index = 0; index < count; index++) items.push(this.#value(this.#byte(), reading, depth));
    return reading.frozen ? Object.freeze(items) : items;
  }

  /**
   * @param {number} count
   * @param {Reading} reading
   * @param {number} depth
   */
  #map(count, reading, depth) {
    this.#descend(2 * count, depth);
    if (reading.maps) {
      /** @type {Map<string, any>} */
      const map = new Map();
      for (let index = 0; index < count; index++) {
        const key = this.text();
        map.set(key, this.#value(this.#byte(), reading, depth));
      }
      return map;
    }
    const map = Object.create(null);
    for (let index = 0; index < count; index++) {
      const key = this.text();
      map[key] = this.#value(this.#byte(), reading, depth);
    }
    return reading.frozen ? Object.freeze(map) : map;
  }

  /**
   * @param {number} least How many bytes follow at least.
   * @param {number} depth
   */
  #descend(least, depth) {
    if (depth > MAX_DEPTH) throw new CodecError(`expected at most ${MAX_DEPTH} levels, got more`);
    if (least > this.#bytes.length - this.#at) throw tooShort();
  }

  /**
   * @param {number} head The head of an integer.
   * @returns {number | bigint}
   */
  #int(head) {
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xcf: {
        const value = this.#view.getBigUint64(this.#skip(8));
        if (value > HIGHEST) throw new CodecError("expected an integer of at most 64 bits, got a larger one");
        return smallest(value);
      }
      case 0xd0:
        return this.#view.getInt8(this.#skip(1));
      case 0xd1:
        return this.#view.getInt16(this.#skip(2));
      case 0xd2:
        return this.#view.getInt32(this.#skip(4));
      case 0xd3:
        return smallest(this.#view.getBigInt64(this.#skip(8)));
    }
    return this.#uint(/** @type {1 | 2 | 4} */ (1 << (head - 0xcc)));
  }

  /** @param {number} head */
  #textSize(head) {
    if (head >> 5 === 5) return head & 31;
    return head >= 0xd9 && head <= 0xdb ? this.#uint(/** @type {1 | 2 | 4} */ (1 << (head - 0xd9))) : -1;
  }

  /** @param {number} size */
  #text(size) {
    const start = this.#skip(size);
    if (size < 24) {
      // Names and keys, nearly always: faster than the decoder's call.
      let text = "";
      for (let at = start; at < this.#at; at++) {
        const byte = /** @type {number} */ (this.#bytes[at]);
        if (byte > 0x7f) return this.#longText(start);
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return this.#longText(start);
  }

  /** @param {number} start */
  #longText(start) {
    try {
      return fromUtf8.decode(this.#bytes.subarray(start, this.#at));
    } catch {
      throw new CodecError("expected text in UTF-8, got other bytes");
    }
  }

  /** @param {1 | 2 | 4} size */
  #uint(size) {
    const at = this.#skip(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #byte() {
    return /** @type {number} */ (this.#bytes[this.#skip(1)]);
  }

  /** @param {number} size */
  #skip(size) {
    const at = this.#at;
    if (size > this.#bytes.length - at) throw tooShort();
    this.#at = at + size;
    return at;
  }
}

/**
 * Return plain data as MessagePack.
 *
 * @param {unknown} value The data.
 * @param {string} [path] What errors call it.
 */
export function encode(value, path = "data") {
  return new Writer().data(value, path).finish();
}

/**
 * Return the plain data that some MessagePack is.
 *
 * @param {Uint8Array} bytes The MessagePack.
 * @param {Reading} [reading] How it is read.
 * @returns {any}
 */
export function decode(bytes, reading) {
  const reader = new Reader(bytes);
  const value = reader.data(reading);
  reader.end();
  return value;
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

/** @param {object} value */
function isPlainObject(value) {
  const prototype = Object.getPrototypeOf(value);
  // The second look finds the objects of other frames of the page.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** @param {number} head */
function isInt(head) {
  return head < 0x80 || head >= 0xe0 || (head >= 0xcc && head <= 0xd3);
}

/** @param {bigint} value */
function smallest(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/**
 * @param {string} what
 * @param {number} head
 */
function unexpected(what, head) {
  return new CodecError(`expected ${what}, got the byte 0x${head.toString(16).padStart(2, "0")}`);
}

function tooShort() {
  return new CodecError("expected more bytes, got the end of the data");
}
