/**
 * What time it is at the server, as far as a client can know it. As `clock.py`, which explains it.
 *
 * @module
 */

const MIN_SLEEP = 1;
const SLEW = 0.05;
const REPAIR_TIME = 1;
const SAMPLES = 16;
const SAMPLE_AGE = 15;
const TOLERANCE = 0.001;

/**
 * How long a message to the server and its answer take, in seconds.
 *
 * @typedef {object} Latency
 * @property {number} roundTrip The round trip, smoothed as TCP does it.
 * @property {number} jitter By how much round trips differ from that on average.
 * @property {number} best The shortest of the latest round trips.
 * @property {number} latest The last one.
 */

/** Learns how far the clock of a game's room is ahead of this machine's; never runs backwards. */
export class ServerClock {
  /**
   * How long a message and its answer take; null before the first answer.
   *
   * @type {Latency | null}
   */
  latency = null;
  #now;
  #slept;
  #sleptBefore;
  #ahead = 0;
  #shown = 0;
  #since = 0;
  #rate = SLEW;
  #reached = 0;
  /** @type {{at: number, roundTrip: number, ahead: number}[]} */
  #samples = [];
  #isFirst = true;
  #roundTrip = 0;
  #jitter = 0;

  /**
   * @param {() => number} now Returns the time of this machine, in seconds.
   * @param {() => number} slept Returns for how many seconds that clock has stood still.
   */
  constructor(now, slept) {
    this.#now = now;
    this.#slept = slept;
    this.#sleptBefore = slept();
  }

  /** The time in the room, in seconds. */
  time() {
    const now = this.#now();
    const slept = this.#slept() - this.#sleptBefore;
    const time = now + this.#aheadAt(now) + (slept >= MIN_SLEEP ? slept : 0);
    this.#reached = Math.max(this.#reached, time);
    return this.#reached;
  }

  /**
   * Begin with another room, in which it is this time now.
   *
   * @param {number} time The time.
   */
  begin(time) {
    const now = this.#now();
    this.#sleptBefore = this.#slept();
    this.#ahead = this.#shown = time - now + (this.#best(now)?.roundTrip ?? 0) / 2;
    this.#since = now;
    this.#reached = time;
    this.#samples = [];
  }

  /** Begin to measure round trips anew: what comes now takes another way. */
  changeLink() {
    this.#samples = [];
    this.#isFirst = true;
  }

  /**
   * Learn that a message has come which says that it was this time in the room.
   *
   * @param {number} time What it says.
   * @param {number} [roundTrip] For how many seconds the question was under way to which it is the
   *   answer; left out where it answers none.
   */
  learn(time, roundTrip) {
    this.#noteSleep();
    const now = this.#now();
    const least = time - now;
    let ahead = this.#ahead;
    if (roundTrip !== undefined) {
      const trip = Math.max(0, roundTrip);
      this.#noteRoundTrip(trip);
      // No clock of before could have shown that: what was measured is over.
      if (ahead < least - TOLERANCE || ahead > least + trip + TOLERANCE) this.#samples = [];
      this.#samples.push({ at: now, roundTrip: trip, ahead: least + trip / 2 });
      if (this.#samples.length > SAMPLES) this.#samples.shift();
      const best = this.#best(now) ?? { ahead, roundTrip: trip };
      ahead = best.ahead;
      this.latency = { roundTrip: this.#roundTrip, jitter: this.#jitter, best: best.roundTrip, latest: trip };
    }
    if (ahead < least) {
      if (ahead < least - TOLERANCE) this.#samples = [];
      ahead = least;
    }
    if (ahead === this.#ahead) return;
    // A short sleep is in it, and must not count once more with the next one.
    this.#sleptBefore = this.#slept();
    this.#aim(ahead, now);
  }

  #noteSleep() {
    const more = this.#slept() - this.#sleptBefore;
    if (Math.abs(more) < MIN_SLEEP) return;
    this.#sleptBefore += more;
    // Less than nothing: somebody has set the clock of this machine back.
    if (more < 0) return;
    this.#ahead += more;
    this.#shown += more;
    this.#samples = [];
  }

  /** @param {number} roundTrip A measured one. */
  #noteRoundTrip(roundTrip) {
    if (this.#isFirst) {
      this.#isFirst = false;
      this.#roundTrip = roundTrip;
      this.#jitter = roundTrip / 2;
      return;
    }
    this.#jitter += (Math.abs(this.#roundTrip - roundTrip) - this.#jitter) / 4;
    this.#roundTrip += (roundTrip - this.#roundTrip) / 8;
  }

  /** @param {number} now The time of this machine. */
  #best(now) {
    this.#samples = this.#samples.filter(({ at }) => now - at <= SAMPLE_AGE);
    const quickest = Math.min(...this.#samples.map((sample) => sample.roundTrip));
    return this.#samples.find((sample) => sample.roundTrip === quickest);
  }

  /**
   * @param {number} ahead How far the room is ahead.
   * @param {number} now The time of this machine.
   */
  #aim(ahead, now) {
    this.#shown = this.#aheadAt(now);
    this.#since = now;
    this.#ahead = ahead;
    const error = ahead - this.#shown;
    if (error > REPAIR_TIME) this.#shown = ahead;
    this.#rate = Math.min(1, Math.max(SLEW, Math.abs(error) / REPAIR_TIME));
  }

  /** @param {number} now The time of this machine. */
  #aheadAt(now) {
    const way = this.#rate * (now - this.#since);
    const error = this.#ahead - this.#shown;
    if (error > way) return this.#shown + way;
    if (error < -way) return this.#shown - way;
    return this.#ahead;
  }
}
