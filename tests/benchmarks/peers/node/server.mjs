// Colyseus as its documentation has it: its own schema over ws, nothing encrypted, no compression.
//
// `node server.mjs WORKLOAD` prints its port and serves until it is killed. WORKLOAD is the JSON of
// `Workload` in workload.py.

import http from "node:http";

import { Room, Server } from "@colyseus/core";
import { schema, t } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";
import { WebSocket } from "ws";

// Reconnecting reads a constant of the global class, which Node has from 22 on.
globalThis.WebSocket ??= WebSocket;

const workload = JSON.parse(process.argv[2]);
const { entities, ticks_per_second: ticks, world } = workload;

// The smallest types that hold these numbers: an author who counts bytes would choose them.
const Entity = schema({ x: t.uint16(), y: t.uint16(), seen: t.uint16() }, "Entity");
const Arena = schema({ entities: t.map(Entity) }, "Arena");

class ArenaRoom extends Room {
  // Patches leave right after the tick that made them. With a timer of their own, as by default,
  // they would be late by as much as a tick.
  patchRate = null;
  autoDispose = false;

  onCreate() {
    const state = new Arena();
    this.velocities = [];
    this.bodies = [];
    for (let number = 0; number < entities; number++) {
      const entity = new Entity();
      [entity.x, entity.y, entity.seen] = [(number * 97) % world, (number * 61) % world, 0];
      state.entities.set(String(number), entity);
      this.bodies.push(entity);
      this.velocities.push([1 + (number % 7), 1 + (number % 5)]);
    }
    this.state = state;
    this.onMessage("input", (client, { number, dx, dy }) => {
      const { body } = client.userData;
      this.velocities[body] = [dx, dy];
      if (number) this.bodies[body].seen = number;
    });
    this.setTimestep(() => {
      for (let number = 0; number < entities; number++) {
        const body = this.bodies[number];
        const [dx, dy] = this.velocities[number];
        body.x = (body.x + dx) % world;
        body.y = (body.y + dy) % world;
      }
      this.broadcastPatch();
    }, 1000 / ticks);
  }

  onJoin(client, { body }) {
    client.userData = { body };
  }
}

class JobRoom extends Room {
  patchRate = null;
  autoDispose = false;

  onCreate() {
    // What a handler returns is the answer to a request.
    this.onMessage("echo", (client, payload) => payload);
    this.onMessage("broadcast", (client, payload) => this.broadcast("broadcast", payload));
  }
}

// Who drops out has this many seconds to come back.
class ReturnRoom extends JobRoom {
  async onDrop(client) {
    await this.allowReconnection(client, 60);
  }
}

const listener = http.createServer();
const server = new Server({
  greet: false,
  transport: new WebSocketTransport({ server: listener }),
});
server.define("arena", ArenaRoom);
server.define("jobs", JobRoom);
server.define("returns", ReturnRoom);
await server.listen(0, "127.0.0.1");
console.log(listener.address().port);
