/** The one rule of the game that the page has too: the same as `step` in arena.py. */

export const WIDTH = 800;
export const HEIGHT = 600;
export const RADIUS = 16;
const SPEED = 240; // pixels a second

/** Move a runner. With + - * / and sqrt, it gets where the server has it, to the bit. */
export function step(runner, steer, dt) {
  const length = Math.max(1, Math.sqrt(steer.x * steer.x + steer.y * steer.y));
  runner.x = Math.min(Math.max(runner.x + (steer.x / length) * SPEED * dt, RADIUS), WIDTH - RADIUS);
  runner.y = Math.min(Math.max(runner.y + (steer.y / length) * SPEED * dt, RADIUS), HEIGHT - RADIUS);
}
