/** Makes the network of this page worse, to see how that looks. Not for real games. */

/** Milliseconds each way, and how many more at most. */
const NETWORKS = [
  ["", 0, 0],
  ["far away", 125, 0],
  ["4G", 18, 17],
  ["bad café", 25, 50],
];

let at = 0;
const lines = new WeakMap();

/** Go on to the next network, and return its name. */
export function changeNetwork() {
  at = (at + 1) % NETWORKS.length;
  return NETWORKS[at][0];
}

/** Call back when what leaves now would have arrived; everything stays in order. */
function later(line, callback) {
  const [, latency, jitter] = NETWORKS[at];
  const arrival = Math.max(lines.get(line) ?? 0, performance.now() + latency + Math.random() * jitter);
  lines.set(line, arrival);
  if (!latency && arrival <= performance.now()) callback();
  else setTimeout(callback, arrival - performance.now());
}

globalThis.WebSocket = class extends WebSocket {
  #inbound = {};
  #listener = null;

  send(data) {
    later(this, () => this.readyState === WebSocket.OPEN && super.send(data));
  }

  get onmessage() {
    return this.#listener;
  }

  set onmessage(listener) {
    this.#listener = listener;
    super.onmessage = listener && ((event) => later(this.#inbound, () => this.#listener?.(event)));
  }
};
