/**
 * The address of a server, read from what people write.
 *
 * @module
 */

import { PGNetError } from "./errors.js";

const DEFAULT_PORT = 38929;

/**
 * Return the URL of a server.
 *
 * @param {string} [address] `host`, `host:port`, `[v6]:port`, `ws://…` or `wss://…`; by default the page's
 *     own server.
 * @returns {string}
 */
export function urlOf(address) {
  if (address === undefined) {
    if (typeof location === "undefined" || !location.host) {
      throw wrong("", "this program has no page whose server it could be");
    }
    return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`;
  }
  const text = address.trim();
  const isUrl = text.includes("://");
  let url;
  try {
    url = new URL(isUrl ? text : `ws://${text}`);
  } catch {
    throw wrong(address, "it cannot be read");
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw wrong(address, `${url.protocol}// is not spoken here`);
  if (url.username || url.password) throw wrong(address, "user names do not belong here");
  url.hash = "";
  if (isUrl) return url.href;
  if (url.pathname !== "/" || url.search) throw wrong(address, "there is something after the port");
  // A URL forgets the port 80, which is the one of its scheme.
  if (!/:\d+$/.test(text)) url.port = String(DEFAULT_PORT);
  return url.href;
}

/**
 * @param {string} address
 * @param {string} why
 */
function wrong(address, why) {
  return new PGNetError(
    `"${address}" is no address of a server (${why}); write host, host:port, [v6]:port, ` +
      "ws://host:port/path or wss://host/path",
    "address",
  );
}
