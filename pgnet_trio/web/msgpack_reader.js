/**
 * Reads MessagePack as the protocol has it: see `msgpack`.
 *
 * @module
 */

import { CodecError } from "./errors.js";
import { HIGHEST, MAX_DEPTH, WholeFloat, kindOf } from "./plain_data.js";

// `ignoreBOM`: otherwise a text would lose the U+FEFF that it begins with.
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * How data is read.
 *
 * @typedef {object} Reading
 * @property {boolean} [frozen] Whether nobody may change it.
 * @property {boolean} [wholeFloats] Whether floats that are whole become `WholeFloat`.
 * @property {boolean} [maps] Whether maps become `Map`, which keeps the order of digits too.
 */

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
