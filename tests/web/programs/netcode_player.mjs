// A page that plays a game in real time for a while, and says how it went, as a line of JSON.
//
// Its arguments: the port, milliseconds that each message takes each way, and seconds.

import { Client } from "../../../pgnet_trio/web/client.js";
import { browser } from "../../../pgnet_trio/web/environment.js";
import { Netcode } from "../../../pgnet_trio/web/netcode.js";

const [port, latency, seconds] = process.argv.slice(2).map(Number);

class Slow extends WebSocket {
  send(data) {
    setTimeout(() => this.readyState === WebSocket.OPEN && super.send(data), latency);
  }

  set onmessage(listener) {
    super.onmessage = listener && ((event) => setTimeout(() => listener(event), latency));
  }
}

// The same rule stands in tests/netcode/steps.py, as `fly`.
function fly(ship, thrust, dt) {
  ship.across += (thrust.x * 400 - ship.across * 1.5) * dt;
  ship.down += (thrust.y * 400 - ship.down * 1.5) * dt;
  const speed = Math.sqrt(ship.across * ship.across + ship.down * ship.down);
  if (speed > 250) {
    ship.across *= 250 / speed;
    ship.down *= 250 / speed;
  }
  ship.x += ship.across * dt;
  ship.y += ship.down * dt;
}

const netcode = new Netcode({ step: fly, at: "ships", fields: ["x", "y"] });
const environment = { ...browser, openSocket: (url, protocols) => new Slow(url, protocols) };
const client = new Client({ username: "ann", address: `localhost:${port}`, netcode }, environment);
await client.connect();
await client.joinGame("course");

let frames = 0;
let sameFrame = null;
let before = null;
const begun = performance.now();
while (performance.now() - begun < seconds * 1000) {
  const share = (performance.now() - begun) / (seconds * 1000);
  const isPressed = share > 0.3;
  const { me } = netcode.frame({ x: isPressed ? 0.7 : 0, y: share > 0.6 ? -0.3 : 0, fire: 0, at_x: 0, at_y: 0 });
  if (isPressed && sameFrame === null && me && before) sameFrame = me.x !== before.x;
  before = me;
  frames += 1;
  await new Promise((resolve) => setTimeout(resolve, 16));
}
// The last input is played again until the ship has its top speed, which is then where it was to be.
const { predictor } = netcode.play;
console.log(
  JSON.stringify({
    frames,
    sameFrame,
    corrections: predictor.corrections,
    error: predictor.error,
    pending: predictor.pending,
    x: predictor.state.x,
    late: netcode.serverTime - netcode.play.interpolator.time,
    roundTrip: netcode.latency.best,
    time: netcode.serverTime,
  }),
);
client.disconnect();
