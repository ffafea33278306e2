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
 * Return the URLs of one server, or of several that look like one.
 *
 * @param {string} [addresses] Each as for `urlOf`, with commas between them.
 */
export function urlsOf(addresses) {
  return addresses === undefined ? [urlOf()] : [...new Set(addresses.split(",").map(urlOf))];
}

/**
 * Return the URL to which a server sends a client.
 *
 * @param {string} url Where the client is connected.
 * @param {string} address An address, or a path at this server, such as `/node-3`.
 * @throws {PGNetError} It is none of these, or leads from TLS to where there is none.
 */
export function redirected(url, address) {
  const { origin, protocol } = new URL(url);
  const isPath = address.startsWith("/");
  if (isPath && !/^\/(?!\/)[^#]*$/.test(address)) throw wrong(address, "it is no path");
  const there = isPath ? new URL(origin + address).href : urlOf(address);
  if (protocol === "wss:" && !there.startsWith(protocol)) throw wrong(address, "it is without TLS, and this page is with it");
  return there;
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
