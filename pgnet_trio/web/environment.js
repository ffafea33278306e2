/**
 * What the client needs of the page that it runs in: sockets, clocks, timers, randomness, and what
 * becomes of the page. Tests give another one.
 *
 * @module
 */

/**
 * What becomes of a page.
 *
 * @typedef {object} PageListener
 * @property {() => void} hide The page is left: it may come back as it is, or never.
 * @property {() => void} show The page that was left is back.
 * @property {() => void} wake Something that was slow may be fast again: the page is in front, or the
 *     network is back.
 */

/**
 * @typedef {object} Environment
 * @property {() => number} now The time of a clock that never jumps, in seconds.
 * @property {() => number} slept For how many seconds that clock has stood still, while the machine
 *     slept.
 * @property {(seconds: number, callback: () => void) => (() => void)} startTimer Calls back after so many
 *     seconds, or later; returns what stops it.
 * @property {(size: number) => Uint8Array} randomBytes Returns so many random bytes.
 * @property {(url: string, protocols: string[]) => WebSocket} openSocket Begins to connect.
 * @property {() => boolean} hidden Whether the page is in the background, where timers are slow.
 * @property {(listener: PageListener) => (() => void)} watchPage Tells what becomes of the page; returns
 *     what ends that.
 * @property {(error: unknown) => void} report Shows an error of the program where it looks for such.
 */

/** @type {Environment} */
export const browser = {
  now: () => performance.now() / 1000,
  slept: () => (Date.now() - performance.timeOrigin - performance.now()) / 1000,
  startTimer: (seconds, callback) => {
    // Longer delays would come at once.
    const timer = setTimeout(callback, Math.min(seconds * 1000, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
  randomBytes: (size) => crypto.getRandomValues(new Uint8Array(size)),
  openSocket: (url, protocols) => new WebSocket(url, protocols),
  hidden: () => typeof document !== "undefined" && document.visibilityState === "hidden",
  watchPage: (listener) => {
    if (typeof addEventListener !== "function") return () => {};
    const stop = new AbortController();
    const { signal } = stop;
    addEventListener("pagehide", listener.hide, { signal });
    addEventListener("pageshow", (event) => event.persisted && listener.show(), { signal });
    addEventListener("online", listener.wake, { signal });
    if (typeof document !== "undefined") {
      const look = () => document.visibilityState === "visible" && listener.wake();
      document.addEventListener("visibilitychange", look, { signal });
    }
    return () => stop.abort();
  },
  report: (error) => {
    if (typeof reportError === "function") reportError(error);
    else console.error(error);
  },
};
