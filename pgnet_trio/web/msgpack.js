/**
 * MessagePack as the protocol has it: plain data, and nothing else.
 *
 * Two things are not as in most libraries. Maps become objects without a prototype, so that
 * `__proto__` is a key like any other. And numbers keep what they are: an integer beyond 2⁵³ becomes
 * a BigInt, and -0 stays what it is.
 *
 * @import { Reading } from "./msgpack_reader.js"
 * @module
 */

import { Reader } from "./msgpack_reader.js";
import { Writer } from "./msgpack_writer.js";

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
