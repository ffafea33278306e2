/**
 * Prediction and interpolation: nobody feels the network.
 *
 * The same as `pgnet_trio.netcode` in Python, to the last bit, as long as a game's `step` is. Nothing
 * here knows a clock or a network, and nothing waits. It is a module of its own, since a game without
 * moving things does not need it.
 *
 * @module
 */

/** @typedef {Record<string, any>} State One object, a ship say, as plain data. */

// As in `predictor.py`, `interpolator.py`, `spawns.py` and `play.py`, where they are explained.
const MAX_PENDING = 128;
const MAX_EXTRAPOLATION = 0.1;
const MAX_JITTER = 0.1;
const WINDOW = 5;
const MAX_ARRIVALS = 256;
const MAX_SAMPLES = 256;
const MAX_INTERVALS = 32;
const FIRST_INTERVAL = 0.05;
const SETTLE = 0.1;
const SLOWER = 0.15;
const FASTER = 0.1;
const MAX_LAG = 1;
const MAX_SPAWNS = 256;
const MOST_TICKS = 4;

/**
 * @template T
 * @param {T} value Plain data.
 * @returns {T} A copy that shares nothing with it.
 */
function copied(value) {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return /** @type {T} */ (value.map(copied));
  /** @type {State} */
  const copy = Object.create(Object.getPrototypeOf(value));
  for (const [key, item] of Object.entries(value)) copy[key] = copied(item);
  return /** @type {T} */ (copy);
}

/**
 * Return the shorter way around between two angles.
 *
 * @param {number} way A way, in radians.
 */
function shorterWay(way) {
  if (Math.abs(way) <= Math.PI) return way;
  const turns = way / (2 * Math.PI);
  return way - Math.trunc(turns >= 0 ? turns + 0.5 : turns - 0.5) * (2 * Math.PI);
}

/** The numbers of a state that change little by little, and so have values in between. */
class StateFields {
  #names;
  #angles;

  /**
   * @param {string[]} fields Their names.
   * @param {string[]} angle The names of those that are angles in radians.
   */
  constructor(fields, angle) {
    this.#names = [...new Set([...fields, ...angle])];
    this.#angles = new Set(angle);
  }

  /**
   * Return what has to be added to the other state to get to the one.
   *
   * @param {State} one A state.
   * @param {State} other Another one.
   */
  difference(one, other) {
    return this.#names.map((name) => {
      const found = one[name] - other[name];
      return this.#angles.has(name) ? shorterWay(found) : found;
    });
  }

  /**
   * Return a copy of a state that is moved by a share of an offset.
   *
   * @param {State} state The state.
   * @param {number[]} offset The offset.
   * @param {number} share The share.
   */
  moved(state, offset, share) {
    const copy = copied(state);
    this.#names.forEach((name, at) => (copy[name] = state[name] + Number(offset[at]) * share));
    return copy;
  }
}

/**
 * Return whether a number has changed by more than *snap*: it was nowhere in between.
 *
 * @param {number[]} offset How much the numbers have changed.
 * @param {number} snap How much they may.
 */
function isLeap(offset, snap) {
  return offset.some((each) => Math.abs(each) > snap);
}

/** @param {number[]} offset An offset. */
function size(offset) {
  let total = 0;
  for (const each of offset) total += each * each;
  return Math.sqrt(total);
}

/**
 * @param {number[]} one An offset.
 * @param {number[]} other Another one.
 * @param {number} share How much of it is added.
 */
function added(one, other, share) {
  return one.map((each, at) => each + Number(other[at]) * share);
}

/**
 * @typedef {object} PredictorOptions
 * @property {number} dt Seconds that one input stands for: those between two ticks of the game.
 * @property {string[]} fields The names of the numbers in which errors disappear slowly.
 * @property {string[]} [angle] The names of fields that are angles in radians.
 * @property {number} [smooth] Seconds over which an error disappears: 0.15; 0 for at once.
 * @property {number} [snap] Where a field is off by more than this, it is right at once.
 * @property {number} [maxPending] How many inputs may wait to be confirmed: 128. Further ones have no
 *   effect.
 */

/**
 * Lets a player's own object move at once, and not when the server's answer comes.
 *
 * It applies each input at once. When a state comes from the server, it begins there, and applies the
 * inputs again that this state does not contain yet.
 */
export class Predictor {
  /**
   * What the server will say, as far as this player can know it. Not to be changed.
   *
   * @type {State}
   */
  state;
  /** How far the prediction was off when the latest state came. */
  error = 0;
  /** How many states were not as predicted so far. */
  corrections = 0;
  #step;
  #dt;
  #smooth;
  #snap;
  #fields;
  #maxPending;
  /** @type {{number: number, input: any}[]} */
  #pending = [];
  /** @type {number[] | null} */
  #offset = null;
  #offsetSince = 0;

  /**
   * @param {(state: any, input: any, dt: number) => any} step The game's own rule: changes the state
   *   in place, or returns another one. It is called with copies, several times for each input.
   * @param {State} state The state to begin with.
   * @param {PredictorOptions} options How to predict.
   */
  constructor(step, state, { dt, fields, angle = [], smooth = 0.15, snap = Infinity, maxPending = MAX_PENDING }) {
    if (!(dt > 0 && dt < Infinity)) throw new RangeError(`dt: expected seconds above 0, got ${dt}`);
    if (!(smooth >= 0 && smooth < Infinity)) {
      throw new RangeError(`smooth: expected 0 s or more, got ${smooth}`);
    }
    if (!(maxPending >= 1)) throw new RangeError(`maxPending: expected 1 or more, got ${maxPending}`);
    this.state = copied(state);
    this.#step = step;
    this.#dt = dt;
    this.#smooth = smooth;
    this.#snap = snap;
    this.#fields = new StateFields(fields, angle);
    this.#maxPending = maxPending;
  }

  /** How many inputs the server has not confirmed. */
  get pending() {
    return this.#pending.length;
  }

  /**
   * Apply an input, now that it is sent; return whether it had an effect.
   *
   * @param {any} input What the player wants during one tick.
   * @param {number} number Its number, larger than those before it.
   */
  apply(input, number) {
    if (this.#pending.length >= this.#maxPending) return false;
    this.#pending.push({ number, input });
    this.state = this.#step(this.state, input, this.#dt) ?? this.state;
    return true;
  }

  /**
   * Take in a state of the server's, and apply to it what it does not contain yet; return how far the
   * prediction was off.
   *
   * @param {State} state The server's state of this object.
   * @param {number | null} confirmed The number of the last input that it contains; null for none.
   * @param {number} now The time in seconds, on any clock that `show` is called with too.
   */
  reconcile(state, confirmed, now) {
    const pending = this.#pending;
    while (confirmed !== null && pending[0] !== undefined && pending[0].number <= confirmed) {
      pending.shift();
    }
    const before = this.state;
    let after = copied(state);
    for (const { input } of pending) after = this.#step(after, input, this.#dt) ?? after;
    this.state = after;
    let difference = this.#fields.difference(before, after);
    this.error = size(difference);
    if (this.error) {
      this.corrections += 1;
      if (this.#offset !== null) difference = added(difference, this.#offset, this.#share(now));
      const isSmooth = this.#smooth > 0 && !isLeap(difference, this.#snap);
      this.#offset = isSmooth ? difference : null;
      this.#offsetSince = now;
    }
    return this.error;
  }

  /**
   * Return what to show in this frame, as a copy.
   *
   * @param {number} now The time in seconds, on the clock of `reconcile`.
   * @param {any} [input] What the player wants at this moment, though it is not sent yet.
   * @param {number} [ahead] Seconds since the last tick, for which that input is shown already.
   */
  show(now, input = null, ahead = 0) {
    let state = copied(this.state);
    if (input !== null && ahead > 0) state = this.#step(state, input, ahead) ?? state;
    if (this.#offset !== null) {
      const share = this.#share(now);
      if (share > 0) return this.#fields.moved(state, this.#offset, share);
      this.#offset = null;
    }
    return state;
  }

  /** @param {number} now The time. */
  #share(now) {
    return Math.max(0, Math.min(1, 1 - (now - this.#offsetSince) / this.#smooth));
  }
}

/**
 * @typedef {object} InterpolatorOptions
 * @property {string[]} fields The names of the numbers that are shown in between. Other fields change
 *   when their state is due.
 * @property {number | "auto"} [delay] Seconds that the shown time is behind the clock. "auto", which
 *   is the default, follows what is measured.
 * @property {string[]} [angle] The names of fields that are angles in radians.
 * @property {number} [snap] Where a field changes by more than this from one state to the next, the
 *   object was nowhere in between.
 */

/** @typedef {{time: number, states: Record<string, State>}} Sample */

/**
 * Shows objects between two states of the server, so late that there mostly are two.
 *
 * Beyond the latest state, objects go on as they did, for 100 ms at most, and then stand still.
 */
export class Interpolator {
  /** Seconds that the time shown is, or will be, behind the clock. */
  delay;
  /**
   * The room's time that `show` last showed; null before that.
   *
   * @type {number | null}
   */
  time = null;
  #isAuto;
  #snap;
  #fields;
  /** @type {Sample[]} */
  #samples = [];
  /** @type {{now: number, late: number}[]} */
  #arrivals = [];
  /** @type {number[]} */
  #intervals = [];
  #interval = FIRST_INTERVAL;
  #now = 0;
  /** @type {Record<string, State>} */
  #shown = {};
  /** @type {Map<string, number[]>} */
  #offsets = new Map();
  #offsetsSince = 0;

  /** @param {InterpolatorOptions} options How to interpolate. */
  constructor({ fields, delay = "auto", angle = [], snap = Infinity }) {
    if (delay !== "auto" && !(delay >= 0 && delay < Infinity)) {
      throw new RangeError(`delay: expected 0 s or more, or "auto"; got ${delay}`);
    }
    this.delay = delay === "auto" ? FIRST_INTERVAL : delay;
    this.#isAuto = delay === "auto";
    this.#snap = snap;
    this.#fields = new StateFields(fields, angle);
  }

  /**
   * Take in a state of the server's.
   *
   * @param {number} time The room's time of the state; one that is not later than the last is ignored.
   * @param {Record<string, State>} states The objects by their names; they have to stay as they are.
   * @param {number} now When it came, on the clock.
   */
  push(time, states, now) {
    const samples = this.#samples;
    const last = samples.at(-1);
    if (last !== undefined) {
      const gap = time - last.time;
      if (gap <= 0) return;
      this.#noteInterval(gap);
      // Nothing changed meanwhile, or else there would have been states.
      if (gap > 2 * this.#interval) {
        samples.push({ time: time - this.#interval, states: last.states });
      }
    }
    const newest = samples.at(-1);
    const isBeyond = this.time !== null && newest !== undefined && this.time > newest.time;
    samples.push({ time, states });
    if (samples.length > MAX_SAMPLES) samples.shift();
    this.#noteArrival(now, now - time);
    if (isBeyond) this.#settle(now);
  }

  /**
   * Return the objects to show in this frame by their names, as copies.
   *
   * @param {number} now The time on the clock.
   * @returns {Record<string, State>}
   */
  show(now) {
    if (this.#samples.length === 0) return named();
    this.time = this.#advance(now);
    const share = 1 - (now - this.#offsetsSince) / SETTLE;
    if (share <= 0) this.#offsets.clear();
    const shown = this.#at(this.time);
    for (const [name, offset] of this.#offsets) {
      const state = shown[name];
      if (state !== undefined) shown[name] = this.#fields.moved(state, offset, Math.min(1, share));
    }
    this.#shown = shown;
    return Object.assign(named(), shown);
  }

  /** @param {number} gap Seconds between the times of two states. */
  #noteInterval(gap) {
    this.#intervals.push(gap);
    if (this.#intervals.length > MAX_INTERVALS) this.#intervals.shift();
    this.#interval = Number(sorted(this.#intervals)[this.#intervals.length >> 1]);
  }

  /**
   * @param {number} now When a state came.
   * @param {number} late How long after its time.
   */
  #noteArrival(now, late) {
    const arrivals = this.#arrivals;
    arrivals.push({ now, late });
    while (arrivals.length > MAX_ARRIVALS || Number(arrivals[0]?.now) < now - WINDOW) {
      arrivals.shift();
    }
    if (!this.#isAuto) return;
    const latest = sorted(arrivals.map((arrival) => arrival.late));
    const first = Number(latest[0]);
    const count = latest.length;
    const jitter = Number(latest[count - 1 - Math.floor(count / 100)]) - first;
    this.delay = first + this.#interval + Math.min(jitter, MAX_JITTER);
  }

  /**
   * Return the time to show: it runs evenly, and never back.
   *
   * @param {number} now The time on the clock.
   */
  #advance(now) {
    const wanted = now - this.delay;
    let passed = now - this.#now;
    this.#now = now;
    if (this.time === null) return wanted;
    passed = Math.max(0, passed);
    const gap = wanted - (this.time + passed);
    if (gap > MAX_LAG) return wanted;
    return this.time + passed + Math.max(-SLOWER * passed, Math.min(FASTER * passed, gap));
  }

  /**
   * Return the objects at a time of the room.
   *
   * @param {number} time The time.
   * @returns {Record<string, State>}
   */
  #at(time) {
    const samples = this.#samples;
    while (samples[2] !== undefined && samples[2].time <= time) samples.shift();
    const isPast = samples[1] !== undefined && samples[1].time <= time;
    const before = isPast ? samples[0] : undefined;
    const older = /** @type {Sample} */ (isPast ? samples[1] : samples[0]);
    const newer = isPast ? samples[2] : samples[1];
    if (time <= older.time) return copiedAll(older.states);
    if (newer !== undefined) {
      return this.#between(older, newer, older, (time - older.time) / (newer.time - older.time));
    }
    if (before === undefined) return copiedAll(older.states);
    const ahead = Math.min(time - older.time, MAX_EXTRAPOLATION);
    return this.#between(before, older, older, ahead / (older.time - before.time));
  }

  /**
   * Return the base's objects, each moved by so much of its way from older to newer.
   *
   * @param {Sample} older The older state.
   * @param {Sample} newer The newer state.
   * @param {Sample} base One of them.
   * @param {number} way The way.
   */
  #between(older, newer, base, way) {
    const found = named();
    for (const [name, state] of Object.entries(base.states)) {
      const [from, to] = [older.states[name], newer.states[name]];
      found[name] = copied(state);
      if (from === undefined || to === undefined) continue;
      const difference = this.#fields.difference(to, from);
      if (isLeap(difference, this.#snap)) continue;
      found[name] = this.#fields.moved(state, difference, way);
    }
    return found;
  }

  /**
   * Note how far what was shown is from what should have been, as is known now.
   *
   * @param {number} now The time on the clock.
   */
  #settle(now) {
    const right = this.#at(Number(this.time));
    this.#offsets.clear();
    this.#offsetsSince = now;
    for (const [name, state] of Object.entries(this.#shown)) {
      const known = right[name];
      if (known === undefined) continue;
      const offset = this.#fields.difference(state, known);
      if (offset.some(Boolean) && !isLeap(offset, this.#snap)) this.#offsets.set(name, offset);
    }
  }
}

/** @returns {Record<string, State>} A map without a prototype: players choose its keys. */
function named() {
  return Object.create(null);
}

/** @param {Record<string, State>} states Objects by their names. */
function copiedAll(states) {
  const found = named();
  for (const [name, state] of Object.entries(states)) found[name] = copied(state);
  return found;
}

/** @param {number[]} numbers Some numbers. */
function sorted(numbers) {
  return [...numbers].sort((one, other) => one - other);
}

/**
 * @typedef {object} SpawnOutcome
 * @property {Record<string, any>} confirmed Those that the server has too, as of now.
 * @property {Record<string, any>} withdrawn Those that were never there.
 * @property {Record<string, any>} ended Those that the server had, and has no more.
 */

/**
 * What a player's inputs bring about before the server says so: shots, or sounds.
 *
 * Client and server have to find the same key for the same thing. A predicted thing is shown until the
 * server says otherwise; then the server's own copy is not to be shown a second time: ask `has(key)`.
 */
export class PredictedSpawns {
  /** @type {Map<string, {number: number, thing: any, confirmed: boolean}>} */
  #entries = new Map();

  /** How many things are shown. */
  get size() {
    return this.#entries.size;
  }

  /** @param {string} key What a thing is called. */
  has(key) {
    return this.#entries.has(key);
  }

  /** Iterate over the things. */
  *[Symbol.iterator]() {
    for (const { thing } of this.#entries.values()) yield thing;
  }

  /**
   * Show a thing from now on; return whether it was added: not twice, and no more than 256.
   *
   * @param {string} key What it is called, here as in the server's state.
   * @param {number} number The number of the input that brought it about.
   * @param {any} thing What is shown.
   */
  add(key, number, thing) {
    if (this.#entries.has(key) || this.#entries.size >= MAX_SPAWNS) return false;
    this.#entries.set(key, { number, thing, confirmed: false });
    return true;
  }

  /**
   * Take in a state of the server's; return what became of the predicted things.
   *
   * @param {number | null} confirmed The number of the last input that it contains; null for none.
   * @param {Iterable<string>} present The keys of what the server has in it.
   * @returns {SpawnOutcome}
   */
  reconcile(confirmed, present) {
    const there = new Set(present);
    const outcome = { confirmed: named(), withdrawn: named(), ended: named() };
    for (const [key, entry] of this.#entries) {
      if (there.has(key)) {
        if (!entry.confirmed) outcome.confirmed[key] = entry.thing;
        entry.confirmed = true;
      } else if (entry.confirmed) {
        outcome.ended[key] = entry.thing;
        this.#entries.delete(key);
      } else if (confirmed !== null && entry.number <= confirmed) {
        outcome.withdrawn[key] = entry.thing;
        this.#entries.delete(key);
      }
    }
    return outcome;
  }
}

/**
 * @typedef {object} PlayRules
 * @property {(state: any, input: any, dt: number) => any} step The game's own rule; see `Predictor`.
 * @property {string[]} fields The names of the numbers that have values in between.
 * @property {string[]} [angle] The names of those that are angles in radians.
 * @property {number} [smooth] Seconds over which an error of the prediction disappears: 0.15.
 * @property {number | "auto"} [delay] Seconds that others are shown late, or "auto".
 * @property {number} [snap] Where a field changes by more than this at once, nothing is shown in
 *   between.
 */

/**
 * @typedef {object} Frame
 * @property {Record<string, any>} things Everything, by name: the own object as predicted, all others
 *   as interpolated.
 * @property {any} me The own object; null for who only watches, and before the first state.
 * @property {Record<string, any>} server Everything as the latest state has it.
 * @property {Record<string, any>} interpolated Everything as interpolated, the own object too.
 */

/** Shows a game to one of its players, frame by frame. Times are the room's. */
export class Play {
  /** Seconds between two ticks of the game; 0 for none, or not known yet. */
  dt = 0;
  /** What shows the others. */
  interpolator;
  /**
   * What shows the own object; null where there is none.
   *
   * @type {Predictor | null}
   */
  predictor = null;
  #rules;
  #name;
  #send;
  /** @type {Record<string, State>} */
  #server = named();
  /** @type {number | null} */
  #nextTick = null;

  /**
   * @param {PlayRules} rules How to show it.
   * @param {string} name The name of the own object.
   * @param {(input: any, seen: number) => number | null} send Sends an input, with the room's time
   *   that the player saw; returns its number, or null where it cannot be sent.
   */
  constructor(rules, name, send) {
    this.#rules = rules;
    this.#name = name;
    this.#send = send;
    this.interpolator = new Interpolator(rules);
  }

  /** Begin with another game: what came before is over. */
  reset() {
    this.interpolator = new Interpolator(this.#rules);
    this.predictor = null;
    this.#server = named();
    this.#nextTick = null;
  }

  /**
   * Take in a state.
   *
   * @param {Record<string, State>} things The objects of the game; they have to stay as they are.
   * @param {{time: number, confirmed: number}} moment Of which moment they are.
   * @param {number} now When they came.
   */
  take(things, moment, now) {
    this.#server = things;
    this.interpolator.push(moment.time, things, now);
    const mine = things[this.#name];
    if (mine === undefined || !this.dt) this.predictor = null;
    else if (this.predictor === null) {
      this.predictor = new Predictor(this.#rules.step, mine, { ...this.#rules, dt: this.dt });
    } else this.predictor.reconcile(mine, moment.confirmed || null, now);
  }

  /**
   * Send what is to be sent, and return what to show.
   *
   * @param {number} now The time of this frame.
   * @param {any} [input] What the player wants at this moment; null for nothing.
   * @returns {Frame}
   */
  frame(now, input = null) {
    const interpolated = this.interpolator.show(now);
    const seen = this.interpolator.time;
    const predictor = this.predictor;
    let ahead = 0;
    if (input !== null && predictor !== null && seen !== null) {
      ahead = this.#makeTicks(now, input, seen, predictor);
    }
    const me = predictor === null ? null : predictor.show(now, input, ahead);
    const things = Object.assign(named(), interpolated);
    if (me !== null) things[this.#name] = me;
    return { things, me, server: this.#server, interpolated };
  }

  /**
   * Send and apply an input for each tick that is due; return how long ago the last was.
   *
   * @param {number} now The time of this frame.
   * @param {any} input What the player wants.
   * @param {number} seen The room's time that the player saw.
   * @param {Predictor} predictor What predicts.
   */
  #makeTicks(now, input, seen, predictor) {
    let due = this.#nextTick ?? now;
    for (let count = 0; count < MOST_TICKS && due <= now; count++) {
      const number = this.#send(input, seen);
      if (number !== null) predictor.apply(input, number);
      due += this.dt;
    }
    if (due <= now) due = now + this.dt;
    this.#nextTick = due;
    return Math.max(0, this.dt - (due - now));
  }
}
