#!/usr/bin/env bash
# A server seeds the dice of each game with the game's number, so that any game can be played
# again. One expects the first rolls of 300 games to be like 300 rolls. With Prando 6.0.1 every
# game begins with a 4, and with rot-js 2.2.1 every game with a 1: their first number grows with
# the seed, so slowly that 300 neighbours lie on one side of the die. With pure-rand 8.4.2 and
# xoroshiro128plus, the first number from 0 to 1 is at the top, a 6, in every game; with
# xorshift128plus the fourth roll of uniformInt is even, in every game. Each sequence by itself is
# as random as it should be, so a test of one game sees nothing. seedrandom 3.0.5, pure-rand's
# mersenne, and seeds that were hashed first roll all six sides.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts \
    prando@6.0.1 rot-js@2.2.1 pure-rand@8.4.2 seedrandom@3.0.5
cat >check.mjs <<'JS'
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import PrandoModule from "prando";
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { mersenne } from "pure-rand/generator/mersenne";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { xorshift128plus } from "pure-rand/generator/xorshift128plus";
import { RNG } from "rot-js";
import seedrandom from "seedrandom";

const Prando = PrandoModule.default ?? PrandoModule;
const versions = ["prando", "rot-js", "pure-rand", "seedrandom"].map(
  (name) => `${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`);
console.log(`${versions.join(", ")}, Node ${process.versions.node}`);

const side = (number) => 1 + Math.floor(6 * number);

// For each library, what makes a die of a seed.
const dice = {
  prando: (seed) => {
    const random = new Prando(seed);
    return () => random.nextInt(1, 6);
  },
  "rot-js": (seed) => {
    RNG.setSeed(seed);
    return () => RNG.getUniformInt(1, 6);
  },
  "xoroshiro128plus, from 0 to 1": (seed) => {
    const random = xoroshiro128plus(seed);
    return () => side(uniformFloat64(random));
  },
  "xorshift128plus, uniformInt": (seed) => {
    const random = xorshift128plus(seed);
    return () => uniformInt(random, 1, 6);
  },
  "mersenne, uniformInt": (seed) => {
    const random = mersenne(seed);
    return () => uniformInt(random, 1, 6);
  },
  seedrandom: (seed) => {
    const random = seedrandom(String(seed));
    return () => side(random());
  },
};

const games = Array.from({ length: 300 }, (_, index) => index + 1);
const hashed = (game) => createHash("sha256").update(String(game)).digest().readInt32LE();

// The sides that come up as the roll with this number, over all games.
function sides(library, roll, seedOf = (game) => game) {
  const seen = new Set();
  for (const game of games) {
    const die = dice[library](seedOf(game));
    for (let before = 1; before < roll; before += 1) die();
    seen.add(die());
  }
  return [...seen].sort().join(" ");
}

const ALL = "1 2 3 4 5 6";
const stated = [
  ["prando", 1, "4"],
  ["rot-js", 1, "1"],
  ["xoroshiro128plus, from 0 to 1", 1, "6"],
  ["xorshift128plus, uniformInt", 4, "2 4 6"],
  ["mersenne, uniformInt", 1, ALL],
  ["seedrandom", 1, ALL],
];
let asStated = true;
for (const [library, roll, expected] of stated) {
  const seen = sides(library, roll);
  const seenHashed = sides(library, roll, hashed);
  console.log(`${library}, roll ${roll} of 300 games: ${seen} (hashed: ${seenHashed})`);
  asStated &&= seen === expected && seenHashed === ALL;
}
if (!asStated) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: every game begins with the same roll");
JS
timeout 60 node check.mjs
