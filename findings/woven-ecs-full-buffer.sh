#!/usr/bin/env bash
# @woven-ecs/core 1.0.7 notes what changes in a ring buffer, from which a server asks each frame
# for what it has to send. If more changes in a frame than the buffer holds (131,072, unless one
# says otherwise), one expects to be told of the newest 131,072, as its warning has it: "some" may
# be missed. All are. A game that catches up after a stall moves 4,097 ships 32 times in a frame,
# and not one of them counts as changed, though 4,095 ships are all found. With 4,096 ships, where
# the buffer is exactly full and nothing is lost, none is found either, and there is no warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @woven-ecs/core@1.0.7
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import {
  addComponent, createEntity, defineComponent, defineQuery, defineSystem, field, World,
} from "@woven-ecs/core";

const { version } = JSON.parse(readFileSync("node_modules/@woven-ecs/core/package.json"));
console.log(`@woven-ecs/core ${version}, Node ${process.versions.node}`);
const STEPS = 32;

// How many of these ships count as changed in the frame after they moved, and how often the
// library warns of that.
async function moveAll(number) {
  const Position = defineComponent({ x: field.float32().default(0) });
  const changes = defineQuery((query) => query.tracking(Position));
  const world = new World([Position], { threads: 1 });
  const ships = [];
  let changed = 0;
  const launch = defineSystem((context) => {
    while (ships.length < number) {
      const ship = createEntity(context);
      addComponent(context, ship, Position, {});
      ships.push(ship);
    }
  });
  const move = defineSystem((context) => {
    for (const ship of ships) Position.write(context, ship).x += 1;
  });
  const look = defineSystem((context) => {
    changed = changes.changed(context).length;
  });
  const frame = async (...systems) => {
    world.sync();
    await world.execute(...systems);
  };
  await frame(launch, look);
  await frame(look);
  const warnings = [];
  const { warn } = console;
  console.warn = (warning) => warnings.push(warning);
  await frame(...Array(STEPS).fill(move), look);
  await frame(look);
  console.warn = warn;
  world.dispose();
  return { changed, warned: warnings.some((warning) => warning.includes("overflow")) };
}

const found = {};
for (const ships of [4095, 4096, 4097]) {
  found[ships] = await moveAll(ships);
  console.log(`${ships} ships, moved ${STEPS} times (${ships * STEPS} changes):`, found[ships]);
}
const asStated =
  found[4095].changed === 4095 && !found[4095].warned &&
  found[4096].changed === 0 && !found[4096].warned &&
  found[4097].changed === 0 && found[4097].warned;
if (!asStated) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: where not everything fits, nothing has changed");
JS
timeout 60 node check.mjs
