/** Draws the arena; knows nothing of a network. */

import { HEIGHT, RADIUS, WIDTH } from "./rules.js";

/** Draw a frame of the netcode, which may be null, the gems, and the places of shots. */
export function draw(canvas, shown, gems, shots, me, ghosts) {
  const scale = canvas.clientWidth / WIDTH;
  const [width, height] = [WIDTH, HEIGHT].map((side) => Math.round(side * scale * devicePixelRatio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.setTransform(width / WIDTH, 0, 0, height / HEIGHT, 0, 0);
  pen.fillStyle = "#1b1d2a";
  pen.fillRect(0, 0, WIDTH, HEIGHT);
  drawGrid(pen);
  for (const [x, y] of gems) drawGem(pen, x, y);
  // A name is as large on a phone as on a desk.
  pen.font = `600 ${Math.min(30, 13 / scale)}px system-ui, sans-serif`;
  for (const [name, { x, y, color }] of Object.entries(shown?.things ?? {})) {
    drawRunner(pen, x, y, color, name === me);
    drawName(pen, x, y, name === me ? "you" : name);
  }
  for (const shot of shots) drawShot(pen, shot);
  if (!ghosts || !shown) return;
  // Where the server has everybody; where you are without smoothing, and as others see you.
  for (const runner of Object.values(shown.server)) drawGhost(pen, runner, "#ff5050");
  drawGhost(pen, shown.predicted, "#50ff50");
  drawGhost(pen, shown.interpolated[me], "#5080ff");
}

function drawGhost(pen, runner, color) {
  if (!runner) return;
  pen.strokeStyle = color;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(runner.x, runner.y, RADIUS, 0, 2 * Math.PI);
  pen.stroke();
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

function drawShot(pen, { x, y }) {
  pen.fillStyle = "white";
  pen.beginPath();
  pen.arc(x, y, 5, 0, 2 * Math.PI);
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
