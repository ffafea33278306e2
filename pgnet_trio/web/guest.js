/**
 * Players without a registration: a name and a random password that the browser keeps.
 *
 * @module
 */

import { checkNames } from "./options.js";

// A username has 3 to 20 letters or digits. Characters that are read as others are left out.
const READABLE = "abcdefghjkmnpqrstuvwxyz23456789";
// By this form a server knows a password that nobody can guess, and that it need not make costly.
const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const RANDOM = "random:";
const RANDOM_LENGTH = 43;
const KEY = "pgnet.guest";

/**
 * Return who plays in this browser: the same player after a reload, and in every tab. It is what
 * `new Client` takes; where there is an address, that is in it too.
 *
 * The password is random, so nobody else can be this player, and whoever clears the browser's data
 * is another player afterwards. Where the browser keeps nothing, the player is another one after each
 * reload.
 *
 * @param {object} [options] What else to say.
 * @param {string} [options.username] The name, if the player has chosen one; otherwise it is made up.
 * @param {string} [options.address] The server, where it is not the page's own: each gets a password of
 *     its own.
 * @param {Pick<Storage, "getItem" | "setItem">} [options.storage] Where it is kept: `sessionStorage` makes
 *     each tab a player of its own. By default it is `localStorage`.
 * @returns {{username: string, password: string, address?: string}}
 * @throws {CodecError} An option is not known.
 */
export function guest(options = {}) {
  checkNames("guest", options, ["username", "address", "storage"]);
  const { username, address, storage } = options;
  const where = address ? { address } : {};
  const key = [KEY, ...(address ? [address] : []), ...(username ? [username] : [])].join(" ");
  try {
    const kept = JSON.parse((storage ?? localStorage).getItem(key) ?? "null");
    if (typeof kept?.username === "string" && typeof kept.password === "string") {
      return { username: kept.username, password: kept.password, ...where };
    }
  } catch {
    // A browser may refuse its storage, or somebody else may have written there.
  }
  const made = {
    username: username ?? `guest${randomText(6, READABLE)}`,
    password: RANDOM + randomText(RANDOM_LENGTH, BASE64URL),
  };
  try {
    (storage ?? localStorage).setItem(key, JSON.stringify(made));
  } catch {
    // Then this player lasts as long as the page.
  }
  return { ...made, ...where };
}

/**
 * @param {number} length
 * @param {string} characters
 */
function randomText(length, characters) {
  let text = "";
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      // Each character as often as any other.
      if (byte < 256 - (256 % characters.length) && text.length < length) text += characters[byte % characters.length];
    }
  }
  return text;
}
