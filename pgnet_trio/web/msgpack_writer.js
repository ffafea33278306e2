/**
 * Writes MessagePack as the protocol has it: see `msgpack`.
 *
 * @module
 */

import { CodecError } from "./errors.js";
import { HIGHEST, LOWEST, MAX_DEPTH, isPlainObject, kindOf } from "./plain_data.js";

const utf8 = new TextEncoder();

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
