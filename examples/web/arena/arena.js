import { Client, guest } from "/pgnet/client.js";
import { draw, HEIGHT, WIDTH } from "./field.js";

const TICKS = 20; // a second, as in the game
const PER_TICK = 12; // pixels that a runner makes
const KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  KeyA: [-1, 0], KeyD: [1, 0], KeyW: [0, -1], KeyS: [0, 1],
};

const page = (id) => document.getElementById(id);
const say = (id, text) => (page(id).textContent = text);
const canvas = page("field");

/** @type {Client | undefined} */
let client;
// Between two states the runners are drawn on the way from the one before to the latest.
let before, latest, arrived = 0;

page("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(page("name").value);
});

/** Log in under a name, which this browser alone has the password of. */
async function enter(username) {
  client = new Client(guest({ username }));
  client.on("status", (text) => say("status", text));
  client.on("end", (error) => ask(error.message));
  client.on("state", (state) => {
    [before, latest, arrived] = [latest, state, performance.now()];
    showScores(state.runners);
  });
  // The game lets a runner stop whose player is away: what is held down is told anew.
  client.on("online", () => (sent = [0, 0]));
  client.on("connection", () => (sent = [0, 0]));
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

// Where the player wants to go.

const held = new Set();
let finger = null; // where it is, in pixels of the arena
let sent = [0, 0];

/** Tell the game where to, if that has changed. */
function steer() {
  if (!client?.online || !latest) return;
  const [x, y] = direction().map((value) => Math.round(value * 100) / 100);
  if (x === sent[0] && y === sent[1]) return;
  sent = [x, y];
  client.tell("Steer", { x, y });
}

function direction() {
  const me = latest.runners[client.username];
  if (finger && me) return [(finger.x - me.x) / PER_TICK, (finger.y - me.y) / PER_TICK];
  const wanted = [...held].map((key) => KEYS[key]);
  return wanted.reduce(([x, y], [across, down]) => [x + across, y + down], [0, 0]);
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  finger = {
    x: ((event.clientX - box.left) / box.width) * WIDTH,
    y: ((event.clientY - box.top) / box.height) * HEIGHT,
  };
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  point(event);
  steer();
});
canvas.addEventListener("pointermove", (event) => finger && point(event));
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => {
    finger = null;
    steer();
  });
}
addEventListener("keydown", (event) => {
  if (!(event.code in KEYS) || event.target instanceof HTMLInputElement) return;
  event.preventDefault();
  held.add(event.code);
  steer();
});
addEventListener("keyup", (event) => held.delete(event.code) && steer());
addEventListener("blur", () => {
  held.clear();
  steer();
});

let steered = 0;
function showFrame(now) {
  // A finger may move, and so does the runner below it; the game has twenty ticks a second.
  if (now - steered >= 1000 / TICKS) {
    steered = now;
    steer();
  }
  const way = Math.min(1, ((now - arrived) * TICKS) / 1000);
  draw(canvas, before ?? latest, latest, way, client?.username);
  requestAnimationFrame(showFrame);
}
requestAnimationFrame(showFrame);

// Each tab may have a name of its own, and has it still when it is loaded again.
const name = sessionStorage.getItem("name");
if (name) enter(name);
else ask("");
