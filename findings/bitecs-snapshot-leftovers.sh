#!/usr/bin/env bash
# bitECS 0.4.0 has a snapshot serializer, which "captures the complete state of entities and
# components", for saved games, replays and full synchronization. One expects that a world which
# reads a snapshot looks like the one that wrote it. What the snapshot has is added; what it has
# not stays. A game with three enemies that goes back to its snapshot with one has four then: the
# saved one is made once more. A client that reads each snapshot of a server, and maps its entities
# as the manual says, keeps the dead, and each component that was taken off. Nothing tells of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts bitecs@0.4.0
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import { addComponent, addEntity, createWorld, query, removeComponent, removeEntity } from "bitecs";
import { createSnapshotDeserializer, createSnapshotSerializer, u8 } from "bitecs/serialization";

const { version } = JSON.parse(readFileSync("node_modules/bitecs/package.json"));
console.log(`bitecs ${version}, Node ${process.versions.node}`);

const seen = {};

// A game that goes back to how it was.
{
  const world = createWorld();
  const Health = { points: u8([]) };
  const save = createSnapshotSerializer(world, [Health]);
  const load = createSnapshotDeserializer(world, [Health]);
  const enemy = () => addComponent(world, addEntity(world), Health);
  enemy();
  const saved = save();
  enemy();
  enemy();
  load(saved);
  seen["enemies after going back to one"] = query(world, [Health]).length;
}

// A client that reads every snapshot of a server.
{
  const server = createWorld();
  const client = createWorld();
  const [Health, Shield] = [{ points: u8([]) }, { points: u8([]) }];
  const [ClientHealth, ClientShield] = [{ points: u8([]) }, { points: u8([]) }];
  const serialize = createSnapshotSerializer(server, [Health, Shield]);
  const deserialize = createSnapshotDeserializer(client, [ClientHealth, ClientShield]);
  const [ann, bob] = [addEntity(server), addEntity(server)];
  for (const entity of [ann, bob]) {
    addComponent(server, entity, Health);
    addComponent(server, entity, Shield);
  }
  const ids = deserialize(serialize());
  removeEntity(server, ann);
  removeComponent(server, bob, Shield);
  deserialize(serialize(), ids);
  seen["alive at the server"] = query(server, [Health]).length;
  seen["alive at the client"] = query(client, [ClientHealth]).length;
  seen["shields at the server"] = query(server, [Shield]).length;
  seen["shields at the client"] = query(client, [ClientShield]).length;
}

console.log(seen);
if (Object.values(seen).join(" ") !== "4 1 2 0 2") {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: a snapshot removes nothing from the world that reads it");
JS
timeout 60 node check.mjs
