/**
 * What callers give to the client, checked where the mistake is made: a page without types has
 * nobody else to tell it of a slip.
 *
 * @import { ClientOptions } from "./types.js"
 * @module
 */

import { encodeLogIn } from "./envelopes.js";
import { CodecError } from "./errors.js";
import { kindOf } from "./plain_data.js";

const CLIENT_OPTIONS = ["username", "password", "inviteCode", "address", "serverKey", "reconnectFor", "netcode"];

/**
 * Check that options are an object, and that each of them has a name that means something.
 *
 * @param {string} where What takes the options.
 * @param {unknown} options What was given.
 * @param {string[]} names The names that it takes.
 * @throws {CodecError} They are no object, or one of them is not known.
 */
export function checkNames(where, options, names) {
  const isObject = typeof options === "object" && options !== null && !Array.isArray(options);
  if (!isObject) throw new CodecError(`${where}: expected an object of options, got ${kindOf(options)}`);
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw new CodecError(`${where}: expected only ${names.join(", ")}, got ${name}`);
  }
}

/**
 * Find now what would be found when the connection is there, where nobody waits for an error.
 *
 * @param {ClientOptions} options What was given to the client.
 * @throws {CodecError} One of them cannot be used.
 */
export function checkClientOptions(options) {
  checkNames("new Client", options, CLIENT_OPTIONS);
  const { username, password = "", inviteCode = "", serverKey, reconnectFor = 0 } = options;
  encodeLogIn(username, password, inviteCode);
  if (serverKey !== undefined && !/^[A-Za-z0-9+/]{43}=$/.test(serverKey)) {
    throw new CodecError("serverKey: expected the base64 of 32 bytes, as the server shows it");
  }
  if (!(reconnectFor >= 0)) {
    throw new CodecError(`reconnectFor: expected seconds, 0 or more, got ${reconnectFor}`);
  }
}
