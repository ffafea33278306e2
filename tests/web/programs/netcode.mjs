// Compares what netcode.js shows with the vectors of a file: to the bit, or within 1e-9.

import { readFileSync } from "node:fs";

import { Interpolator, Play, PredictedSpawns, Predictor, ServerClock } from "../../../pgnet_trio/web/netcode.js";

// The same rules stand in tests/netcode/steps.py.
const steps = {
  drive(car, wish, dt) {
    car.across += (wish.x * 400 - car.across * 1.5) * dt;
    car.down += (wish.y * 400 - car.down * 1.5) * dt;
    const speed = Math.sqrt(car.across * car.across + car.down * car.down);
    if (speed > 250) {
      car.across *= 250 / speed;
      car.down *= 250 / speed;
    }
    car.x += car.across * dt;
    car.y += car.down * dt;
  },
  turn(car, wish, dt) {
    const heading = car.heading + wish.x * 3 * dt;
    return {
      x: car.x + Math.cos(heading) * 200 * dt,
      y: car.y + Math.sin(heading) * 200 * dt,
      heading,
    };
  },
};

const parts = {
  predictor({ step, state, options: { max_pending: maxPending, ...options } }) {
    const predictor = new Predictor(steps[step], state, { ...options, ...(maxPending && { maxPending }) });
    return (what, ...rest) => {
      const result = predictor[what === "change_input" ? "changeInput" : what](...rest);
      return what === "reconcile" ? [result, predictor.state, predictor.pending] : result;
    };
  },
  interpolator({ options }) {
    const interpolator = new Interpolator(options);
    return (what, ...rest) => [interpolator[what](...rest), interpolator.delay, interpolator.time];
  },
  play({ step, options }) {
    const sent = [];
    const play = new Play({ ...options, step: steps[step] }, "ann", (input, seen) => sent.push([input, seen]));
    return (what, ...rest) => {
      if (what === "dt") {
        [play.dt] = rest;
        return null;
      }
      const result = play[what](...rest);
      if (result === undefined) return null;
      const { things, predicted, me, number, confirmed } = result;
      return [things, predicted, me, sent.at(-1) ?? null, number, confirmed];
    };
  },
  clock() {
    const at = { now: 0, slept: 0 };
    const clock = new ServerClock(() => at.now, () => at.slept);
    const methods = { begin: "begin", learn: "learn", change_link: "changeLink" };
    return (what, now, slept, ...rest) => {
      Object.assign(at, { now, slept });
      if (what !== "time") clock[methods[what]](...rest);
      const { roundTrip, jitter, best, latest } = clock.latency ?? {};
      return [clock.time(), clock.latency && [roundTrip, jitter, best, latest]];
    };
  },
  spawns() {
    const spawns = new PredictedSpawns();
    return (what, ...rest) => {
      const result = spawns[what](...rest);
      if (what === "add") return [result, spawns.size];
      return [result.confirmed, result.withdrawn, result.ended, [...spawns]];
    };
  },
};

function isSame(value, expected, exact) {
  if (typeof expected === "number" && typeof value === "number") {
    return exact ? Object.is(value, expected) : Math.abs(value - expected) <= 1e-9;
  }
  if (typeof expected !== "object" || expected === null) return (value ?? null) === expected;
  const keys = Object.keys(expected);
  return (
    typeof value === "object" &&
    value !== null &&
    Object.keys(value).length === keys.length &&
    keys.every((key) => isSame(value[key], expected[key], exact))
  );
}

const wrong = [];
let compared = 0;
for (const vector of JSON.parse(readFileSync(process.argv[2], "utf-8"))) {
  const part = parts[vector.part](vector);
  for (const [call, expected] of vector.calls) {
    const got = part(...call);
    compared += 1;
    if (!isSame(got, expected, vector.exact)) wrong.push({ vector: vector.name, call, got, expected });
  }
}
console.log(JSON.stringify({ compared, wrong: wrong.slice(0, 3) }));
