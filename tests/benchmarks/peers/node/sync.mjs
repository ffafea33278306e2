// The players of the `sync` benchmark at Colyseus: its own client library, a plan as JSON on
// standard input, the fields of `SyncResult` as JSON on standard output. What it does is what
// `sync` in generate.py does; change both together.

import { existsSync, readFileSync } from "node:fs";

// The library takes a global WebSocket where Node has one, and that one does not tell how many bytes
// came; `ws`, which it takes otherwise, does.
delete globalThis.WebSocket;
const { Client } = await import("@colyseus/sdk");

const WARM_UP = 2000;
const GRACE = 2000;

const plan = JSON.parse(readFileSync(0, "utf-8"));
const { entities, inputs_per_second: rate } = plan.workload;
const clock = () => performance.now();

// The time that the server was on a CPU and the time that it waited for one, like `Usage`.
function usage() {
  const text = readFileSync(`/proc/${plan.server}/stat`, "ascii");
  // The program's name, in parentheses, may hold spaces.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const cpu = (Number(fields[11]) + Number(fields[12])) / plan.clock_ticks;
  const schedule = `/proc/${plan.server}/schedstat`;
  const waited = existsSync(schedule) ? Number(readFileSync(schedule, "ascii").split(" ")[1]) : 0;
  return { cpu, waited: waited / 1e9 };
}

let begin = Infinity;
let end = Infinity;
let states = 0;
let working = 0;
let active = false;
const latencies = [];

class Player {
  constructor(number, room) {
    this.room = room;
    this.body = String(number % entities);
    this.numbered = number < entities;
    this.sent = 0;
    this.waiting = [];
    room.onStateChange((state) => this.take(state));
    room.onLeave((code) => {
      throw new Error(`player ${number} was disconnected: ${code}`);
    });
  }

  take(state) {
    active = true;
    states++;
    if (!this.numbered) return;
    const now = clock();
    const { seen } = state.entities.get(this.body);
    while (this.waiting.length && this.waiting[0][0] <= seen) {
      const [, sentAt] = this.waiting.shift();
      if (begin <= sentAt && sentAt < end) latencies.push(now - sentAt);
    }
  }

  play(now) {
    active = true;
    const sent = ++this.sent;
    const number = this.numbered ? sent : 0;
    if (number) this.waiting.push([number, now]);
    this.room.send("input", { number, dx: 1 + (sent % 9), dy: 1 + (sent % 7) });
  }

  bytes() {
    return this.room.connection.transport.ws._socket.bytesRead;
  }
}

const client = new Client(`ws://127.0.0.1:${plan.port}`);
const players = [];
for (let number = 0; number < plan.clients; number++) {
  const room = await client.joinOrCreate("arena", { body: number % entities });
  players.push(new Player(number, room));
}

const period = 1000 / rate / players.length;
const started = clock();
let inputs = 0;

// Without sleep, `setImmediate` again and again keeps the process awake, as the generator in Python
// does: no server pays for waking it.
const turn = plan.sleep
  ? () => new Promise((resolve) => setTimeout(resolve, 1))
  : () => new Promise((resolve) => setImmediate(resolve));

async function playUntil(until) {
  for (let before = clock(); before < until; ) {
    active = false;
    for (let now = before; started + inputs * period <= now; now = clock()) {
      players[inputs++ % players.length].play(now);
    }
    await turn();
    const after = clock();
    // Of a turn that had nothing to do, nothing counts as work.
    if (active) working += after - before;
    before = after;
  }
}

const received = () => players.reduce((sum, player) => sum + player.bytes(), 0);
const unanswered = () =>
  players.reduce(
    (sum, { waiting }) => sum + waiting.filter(([, at]) => begin <= at && at < end).length,
    0,
  );

await playUntil(started + WARM_UP);
states = working = 0;
const ownBefore = process.cpuUsage();
begin = clock();
const bytesBefore = received();
const usageBefore = usage();
await playUntil(begin + plan.seconds * 1000);
const usageAfter = usage();
const bytes = received() - bytesBefore;
end = clock();
if (plan.sleep) {
  // A turn is longer than its work then.
  const own = process.cpuUsage(ownBefore);
  working = (own.user + own.system) / 1000;
}
const busy = working / (end - begin);
const seconds = (end - begin) / 1000;
const statesEach = states / players.length;
for (const late = clock() + GRACE; unanswered() && clock() < late; ) {
  await playUntil(clock() + 50);
}
latencies.sort((one, other) => one - other);
const percentile = (percent) =>
  latencies[Math.min(latencies.length - 1, Math.floor((latencies.length * percent) / 100))] / 1000;
console.log(
  JSON.stringify({
    players: players.length,
    seconds,
    cpu_seconds: usageAfter.cpu - usageBefore.cpu,
    bytes_per_client_second: bytes / players.length / seconds,
    states_per_client_second: statesEach / seconds,
    p50: percentile(50),
    p99: percentile(99),
    unanswered: unanswered(),
    generator_busy: busy,
    server_waited: (usageAfter.waited - usageBefore.waited) / seconds,
  }),
);
process.exit(0);
