#!/usr/bin/env bash
# @geckos.io/snapshot-interpolation 1.1.1 shows other players between two states of the server.
# Its README says that "(deg)", "(rad)" or "(quat)" behind a key makes it an angle, whatever the
# key is called, and its example begins with two such keys. One expects 350 and 10 degrees to meet
# at 0, wherever the key stands. That happens only for a key of one letter that is not the first
# in the list. As the first it is a plain number, and the ship turns through 180 degrees, the long
# way round; a key with more letters is not interpolated at all, and jumps to the newer state.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @geckos.io/snapshot-interpolation@1.1.1
cat >check.cjs <<'JS'
const { SnapshotInterpolation } = require("@geckos.io/snapshot-interpolation");
const { version } = JSON.parse(
  require("fs").readFileSync("node_modules/@geckos.io/snapshot-interpolation/package.json"),
);
console.log(`@geckos.io/snapshot-interpolation ${version}, Node ${process.versions.node}`);

function half(keys, name) {
  const at = (time, x, angle) => {
    return { id: String(time), time, state: [{ id: "1", x, [name]: angle }] };
  };
  const shown = new SnapshotInterpolation(20).interpolate(at(0, 0, 350), at(100, 10, 10), 50, keys);
  return [shown.state[0].x, shown.state[0][name]];
}

let changed = false;
for (const [keys, name, stated] of [
  ["x a(deg)", "a", [5, 0]],
  ["a(deg) x", "a", [5, 180]],
  ["x heading(deg)", "heading", [5, 10]],
]) {
  const seen = half(keys, name);
  console.log(`"${keys}": half-way from 350 to 10 degrees is ${seen[1]}, x is ${seen[0]}`);
  changed ||= JSON.stringify(seen) !== JSON.stringify(stated);
}
if (changed) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: which way a ship turns depends on the place and length of the key");
JS
timeout 30 node check.cjs
