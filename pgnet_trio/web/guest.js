/**
 * Players without a registration: a name and a random password that the browser keeps.
 *
 * @module
 */

import { checkNames } from "./options.js";

// A username has 3 to 20 letters or digits. Characters that are read as others are left out.
const CHARACTERS = "abcdefghjkmnpqrstuvwxyz23456789";
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
  const made = { username: username ?? `guest${randomText(6)}`, password: randomText(26) };
  try {
    (storage ?? localStorage).setItem(key, JSON.stringify(made));
  } catch {
    // Then this player lasts as long as the page.
  }
  return { ...made, ...where };
}

/** @param {number} length */
function randomText(length) {
  let text = "";
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      // Each character as often as any other.
      if (byte < 256 - (256 % CHARACTERS.length) && text.length < length) text += CHARACTERS[byte % CHARACTERS.length];
    }
  }
  return text;
}
