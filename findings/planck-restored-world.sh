#!/usr/bin/env bash
# A client that predicts keeps a copy of its physics world, to go back to when the server
# disagrees: Planck 1.5.0's Serializer writes a world as JSON and makes one of it. One expects the
# restored world to go on as the first one would have. The very next step differs by two
# hundredths of a metre in a pile of boxes, since what the solver learned about contacts is not in
# the JSON; and the userData of bodies, by which a game knows which body is whose ship, is gone
# from every one of them, without a word. Two worlds that are restored from the same JSON agree to
# the bit, so a test that compares those says that all is well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts planck@1.5.0
cat >check.cjs <<'JS'
const { World, Vec2, Box, Serializer } = require("planck");
const { version } = JSON.parse(require("fs").readFileSync("node_modules/planck/package.json"));
console.log(`planck ${version}, Node ${process.versions.node}`);

function pile() {
  const world = new World(new Vec2(0, -10));
  world.createBody().createFixture(new Box(50, 1), 0);
  for (let index = 0; index < 15; index += 1) {
    const place = new Vec2((index % 3) * 1.1 + index * 0.01, 3 + index * 1.3);
    const body = world.createDynamicBody(place);
    body.setUserData({ ship: index });
    body.createFixture(new Box(0.5, 0.5), { density: 1, friction: 0.4 });
  }
  return world;
}
function bodies(world) {
  const all = [];
  for (let body = world.getBodyList(); body; body = body.getNext()) all.push(body);
  return all;
}
const places = (world) =>
  bodies(world).flatMap((body) => [body.getPosition().x, body.getPosition().y]);
const apart = (one, other) =>
  Math.max(...places(one).map((place, index) => Math.abs(place - places(other)[index])));

const world = pile();
for (let step = 0; step < 100; step += 1) world.step(1 / 60);
const serializer = new Serializer();
const json = JSON.stringify(serializer.toJson(world));
const restored = serializer.fromJson(JSON.parse(json));
const again = serializer.fromJson(JSON.parse(json));

const atOnce = apart(world, restored);
for (const each of [world, restored, again]) each.step(1 / 60);
const oneStep = apart(world, restored);
const between = apart(restored, again);
const named = (each) => bodies(each).filter((body) => body.getUserData()).length;
console.log(`apart at once ${atOnce} m, after one step ${oneStep} m, two restored ${between} m`);
console.log(`bodies that know their ship: ${named(world)}, restored ${named(restored)}`);
const known = [named(world), named(restored)];
if (atOnce > 1e-9 || oneStep < 0.01 || between !== 0 || known[0] !== 15 || known[1] !== 0) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: the restored world goes on differently, and knows no ship");
JS
timeout 30 node check.cjs
