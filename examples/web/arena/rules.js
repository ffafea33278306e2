/** The rules of the game that the page has too: the same as in arena.py. */

export const WIDTH = 800;
export const HEIGHT = 600;
export const RADIUS = 16;
export const RELOAD = 0.4; // seconds from one shot to the next
const SPEED = 240; // pixels a second
const SHOT_SPEED = 500;
const SHOT_TIME = 0.8; // seconds that a shot flies

/** Move a runner. With + - * / and sqrt, it gets where the server has it, to the bit. */
export function step(runner, steer, dt) {
  const length = Math.max(1, Math.sqrt(steer.x * steer.x + steer.y * steer.y));
  runner.x = Math.min(Math.max(runner.x + (steer.x / length) * SPEED * dt, RADIUS), WIDTH - RADIUS);
  runner.y = Math.min(Math.max(runner.y + (steer.y / length) * SPEED * dt, RADIUS), HEIGHT - RADIUS);
}

/** Fire a shot, at this time of the room. */
export function shoot({ x, y }, { aim_x, aim_y }, born) {
  const length = Math.sqrt(aim_x * aim_x + aim_y * aim_y) || 1;
  return { x, y, across: (aim_x / length) * SHOT_SPEED, down: (aim_y / length) * SHOT_SPEED, born };
}

/** Return where a shot is; null where it does not fly yet, or no more. */
export function placeOf({ x, y, across, down, born }, time) {
  const age = time - born;
  return age < 0 || age > SHOT_TIME ? null : { x: x + across * age, y: y + down * age };
}

/** Return whether something hits a runner. */
export function isHit(place, runner) {
  return Math.hypot(place.x - runner.x, place.y - runner.y) < RADIUS + 4;
}
