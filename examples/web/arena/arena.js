import { Client, guest } from "/pgnet/client.js";
import { Netcode, PredictedSpawns } from "/pgnet/netcode.js";
import { draw } from "./field.js";
import { changeNetwork } from "./network.js";
import { HEIGHT, isHit, placeOf, RELOAD, shoot, step, WIDTH } from "./rules.js";

const NEAR = 12; // pixels from a finger at which a runner slows down
const KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  KeyA: [-1, 0], KeyD: [1, 0], KeyW: [0, -1], KeyS: [0, 1],
};

const page = (id) => document.getElementById(id);
const say = (id, text) => (page(id).textContent = text);
const canvas = page("field");

/** @type {Client | undefined} */
let client;
/** @type {Netcode | undefined} */
let netcode;
let ghosts = false;

page("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(page("name").value);
});

/** Log in under a name, which this browser alone has the password of. */
async function enter(username) {
  netcode = new Netcode({ step, at: "runners", fields: ["x", "y"] });
  client = new Client({ ...guest({ username }), netcode });
  client.on("status", (text) => say("status", text));
  client.on("end", (error) => ask(error.message));
  client.on("state", (state) => showScores(state.runners));
  try {
    await client.connect();
    // A page that is loaded again is in the arena still.
    if (client.game === null) await client.joinGame("arena");
  } catch (error) {
    client.disconnect();
    ask(error.message);
    return;
  }
  sessionStorage.setItem("name", username);
  page("enter").hidden = true;
  say("problem", "");
  canvas.focus();
}

function ask(problem) {
  page("enter").hidden = false;
  say("problem", problem);
  page("name").focus();
}

function showScores(runners) {
  const ranked = Object.entries(runners).sort(([, one], [, other]) => other.gems - one.gems);
  const text = ranked.map(([name, { gems }]) => `${name} ${gems}`).join("\n");
  // Only when something has changed: there are twenty states a second.
  if (page("scores").dataset.text === text) return;
  page("scores").dataset.text = text;
  page("scores").replaceChildren(
    ...ranked.map(([name, { gems, color }]) => {
      const line = document.createElement("li");
      const dot = document.createElement("span");
      dot.style.background = color;
      line.append(dot, `${name} ${gems}`);
      line.className = name === client.username ? "me" : "";
      return line;
    }),
  );
}

// What the player wants: to go somewhere, and to shoot that way.

const held = new Set();
let finger = null; // where it is, in pixels of the arena
let me = null; // where this player was in the frame before
const spawns = new PredictedSpawns(); // own shots
let shooting = false; // whether to shoot, as soon as that is possible
let loadedAt = 0; // when it is, in milliseconds
let steer = { x: 0, y: 0, shots: 0, aim_x: 1, aim_y: 0 };
const spent = new WeakSet(); // those of them that have hit on this screen

function direction() {
  if (finger && me) return { x: (finger.x - me.x) / NEAR, y: (finger.y - me.y) / NEAR };
  const wanted = [...held].map((key) => KEYS[key] ?? [0, 0]);
  return wanted.reduce(({ x, y }, [across, down]) => ({ x: x + across, y: y + down }), { x: 0, y: 0 });
}

/** Return what the player wants in this frame: to shoot the way they run, or have run last. */
function findSteer() {
  const { x, y } = direction();
  let { shots, aim_x, aim_y } = steer;
  if (x || y) [aim_x, aim_y] = [x, y];
  if ((shooting || held.has("Space")) && me && performance.now() >= loadedAt) {
    loadedAt = performance.now() + RELOAD * 1000;
    shots += 1;
  }
  shooting = false;
  return { x, y, shots, aim_x, aim_y };
}

/** Show a shot at once, if there is somebody who fires it, and a connection. */
function predictShot(shown) {
  if (shown.me === null || shown.number === null) return;
  spawns.add(`${client.username}:${steer.shots}`, shown.number, shoot(shown.me, steer, netcode.serverTime));
}

/** Return where shots are: own ones now, and those of others as late as their runners. */
function placeShots(shown, shots) {
  const others = Object.entries(shown.things).filter(([name]) => name !== client.username);
  const places = [];
  for (const shot of spawns) {
    const place = placeOf(shot, netcode.serverTime);
    // A hit shows at once too; what it was worth, the server says.
    if (place && others.some(([, other]) => isHit(place, other))) spent.add(shot);
    if (place && !spent.has(shot)) places.push(place);
  }
  for (const [key, shot] of Object.entries(shots)) {
    const place = spawns.has(key) ? null : placeOf(shot, netcode.play.interpolator.time ?? 0);
    if (place) places.push(place);
  }
  return places;
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  finger = {
    x: ((event.clientX - box.left) / box.width) * WIDTH,
    y: ((event.clientY - box.top) / box.height) * HEIGHT,
  };
}

canvas.addEventListener("pointerdown", (event) => {
  // A second finger shoots.
  if (!event.isPrimary) {
    shooting = true;
    return;
  }
  canvas.setPointerCapture(event.pointerId);
  point(event);
});
canvas.addEventListener("pointermove", (event) => finger && event.isPrimary && point(event));
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => event.isPrimary && (finger = null));
}
addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement) return;
  if (event.code === "KeyG") ghosts = !ghosts;
  if (event.code === "KeyN") say("network", changeNetwork());
  if (!(event.code in KEYS) && event.code !== "Space") return;
  event.preventDefault();
  held.add(event.code);
  // However short it was.
  shooting ||= event.code === "Space";
});
addEventListener("keyup", (event) => held.delete(event.code));
addEventListener("blur", () => held.clear());

function showFrame() {
  const { shots: before } = steer;
  steer = findSteer();
  const shown = netcode?.frame(steer) ?? null;
  me = shown?.me ?? null;
  if (shown && steer.shots > before) predictShot(shown);
  const { gems = [], shots = {} } = client?.state ?? {};
  if (shown) spawns.reconcile(shown.confirmed, Object.keys(shots));
  draw(canvas, shown, gems, shown ? placeShots(shown, shots) : [], client?.username, ghosts);
  requestAnimationFrame(showFrame);
}
requestAnimationFrame(showFrame);

// Each tab may have a name of its own, and has it still when it is loaded again.
const name = sessionStorage.getItem("name");
if (name) enter(name);
else ask("");
