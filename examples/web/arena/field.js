/** Draws the arena; knows nothing of a network. */

export const WIDTH = 800;
export const HEIGHT = 600;
const RADIUS = 16;

/** Draw what is between two states: *way* goes from 0 to 1. */
export function draw(canvas, before, latest, way, me) {
  const scale = canvas.clientWidth / WIDTH;
  const [width, height] = [WIDTH, HEIGHT].map((side) => Math.round(side * scale * devicePixelRatio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.setTransform(width / WIDTH, 0, 0, height / HEIGHT, 0, 0);
  pen.fillStyle = "#1b1d2a";
  pen.fillRect(0, 0, WIDTH, HEIGHT);
  drawGrid(pen);
  for (const [x, y] of latest?.gems ?? []) drawGem(pen, x, y);
  // A name is as large on a phone as on a desk.
  pen.font = `600 ${Math.min(30, 13 / scale)}px system-ui, sans-serif`;
  for (const [name, runner] of Object.entries(latest?.runners ?? {})) {
    const from = before.runners[name] ?? runner;
    const x = from.x + (runner.x - from.x) * way;
    const y = from.y + (runner.y - from.y) * way;
    drawRunner(pen, x, y, runner.color, name === me);
    drawName(pen, x, y, name === me ? "you" : name);
  }
}

function drawGrid(pen) {
  pen.strokeStyle = "#262938";
  pen.lineWidth = 1;
  pen.beginPath();
  for (let x = 50; x < WIDTH; x += 50) (pen.moveTo(x, 0), pen.lineTo(x, HEIGHT));
  for (let y = 50; y < HEIGHT; y += 50) (pen.moveTo(0, y), pen.lineTo(WIDTH, y));
  pen.stroke();
}

function drawGem(pen, x, y) {
  pen.fillStyle = "#8ff7e5";
  pen.beginPath();
  for (const [across, down] of [[0, -10], [8, 0], [0, 10], [-8, 0]]) pen.lineTo(x + across, y + down);
  pen.fill();
}

function drawRunner(pen, x, y, color, isMe) {
  pen.fillStyle = color;
  pen.beginPath();
  pen.arc(x, y, RADIUS, 0, 2 * Math.PI);
  pen.fill();
  if (!isMe) return;
  pen.strokeStyle = "white";
  pen.lineWidth = 3;
  pen.beginPath();
  pen.arc(x, y, RADIUS + 4, 0, 2 * Math.PI);
  pen.stroke();
}

function drawName(pen, x, y, name) {
  const half = pen.measureText(name).width / 2 + 4;
  pen.fillStyle = "white";
  pen.textAlign = "center";
  // Above the runner; below, where there is no room.
  const down = y - RADIUS - 10 < 30 ? y + RADIUS + 30 : y - RADIUS - 10;
  pen.fillText(name, Math.min(Math.max(x, half), WIDTH - half), down);
}
