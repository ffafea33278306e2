#!/usr/bin/env bash
# A server with koota 0.6.6 moves what has a position in `updateEach`, and sends its clients what
# the query `Changed(Position)` finds. The manual says that updateEach turns change detection on
# by itself for traits that are tracked by `onChange` or by `Changed`. One expects each move to be
# found. None is: a `Changed` in another query, where it has to be, counts for nothing, and the
# loop of the query that has it itself never begins. With one subscription by `onChange`, that of
# an inspector for example, everything is found, so it works for as long as one looks; what is
# changed by `entity.set` is always found.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts koota@0.6.6
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import { createChanged, createWorld, trait } from "koota";

const { version } = JSON.parse(readFileSync("node_modules/koota/package.json"));
console.log(`koota ${version}, Node ${process.versions.node}`);

const Position = trait({ x: 0 });
const Velocity = trait({ x: 1 });
const TICKS = 100;

const loop = (world, options) =>
  world.query(Position, Velocity).updateEach(([position, velocity]) => {
    position.x += velocity.x;
  }, options);

// In how many of the ticks the query for changes finds the ship, which moves in each of them.
function found({ move, watched = false }) {
  const world = createWorld();
  const Changed = createChanged();
  const ship = world.spawn(Position, Velocity);
  world.query(Changed(Position));
  if (watched) world.onChange(Position, () => {});
  let ticks = 0;
  for (let tick = 0; tick < TICKS; tick += 1) {
    move(world, ship);
    ticks += world.query(Changed(Position)).length;
  }
  if (ship.get(Position).x !== TICKS) throw new Error("the ship has not moved");
  return ticks;
}

const plain = found({ move: (world) => loop(world) });
const watched = found({ move: (world) => loop(world), watched: true });
const always = found({ move: (world) => loop(world, { changeDetection: "always" }) });
const set = found({
  move: (world, ship) => ship.set(Position, { x: ship.get(Position).x + 1 }),
});
console.log(`of ${TICKS} moves, the query finds: ${plain} of those in updateEach,`);
console.log(`    ${watched} of them while somebody subscribes to changes, ${always} of them with`);
console.log(`    { changeDetection: "always" }, and ${set} of those by entity.set`);
if (plain !== 0 || watched !== TICKS || always !== TICKS || set !== TICKS) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: what moves in the usual loop has not changed, unless one watches");
JS
timeout 60 node check.mjs
