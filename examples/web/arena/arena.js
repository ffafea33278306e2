import { Client, guest } from "/pgnet/client.js";
import { Netcode } from "/pgnet/netcode.js";
import { draw } from "./field.js";
import { changeNetwork } from "./network.js";
import { HEIGHT, step, WIDTH } from "./rules.js";

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

// Where the player wants to go.

const held = new Set();
let finger = null; // where it is, in pixels of the arena
let me = null; // where this player was in the frame before

function direction() {
  if (finger && me) return { x: (finger.x - me.x) / NEAR, y: (finger.y - me.y) / NEAR };
  const wanted = [...held].map((key) => KEYS[key]);
  return wanted.reduce(({ x, y }, [across, down]) => ({ x: x + across, y: y + down }), { x: 0, y: 0 });
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
});
canvas.addEventListener("pointermove", (event) => finger && point(event));
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => (finger = null));
}
addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement) return;
  if (event.code === "KeyG") ghosts = !ghosts;
  if (event.code === "KeyN") say("network", changeNetwork());
  if (!(event.code in KEYS)) return;
  event.preventDefault();
  held.add(event.code);
});
addEventListener("keyup", (event) => held.delete(event.code));
addEventListener("blur", () => held.clear());

function showFrame() {
  const shown = netcode?.frame(direction()) ?? null;
  me = shown?.me ?? null;
  draw(canvas, shown, client?.state?.gems ?? [], client?.username, ghosts);
  requestAnimationFrame(showFrame);
}
requestAnimationFrame(showFrame);

// Each tab may have a name of its own, and has it still when it is loaded again.
const name = sessionStorage.getItem("name");
if (name) enter(name);
else ask("");
