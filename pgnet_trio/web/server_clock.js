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
const DRIFT = 0.0005;
const LOOSE = 0.25;
const LONGEST_HALF = 0.5;

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
  /** How many times this machine has woken, as far as it was noted. */
  wakes = 0;
  #now;
  #slept;
  #sleptBefore;
  #ahead = 0;
  #shown = 0;
  #since = 0;
  #rate = SLEW;
  #margin = Infinity;
  #marginSince = 0;
  #reached = 0;
  /** @type {{at: number, roundTrip: number}[]} */
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
    this.#ahead = this.#shown = time - now + Math.min(this.#best(now) / 2, LONGEST_HALF);
    this.#since = now;
    this.#margin = Infinity;
    this.#reached = time;
    this.#samples = [];
  }

  /** Begin to measure round trips anew: what comes now takes another way. */
  changeLink() {
    this.#loosen(LOOSE);
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
    this.noteSleep();
    const now = this.#now();
    const least = time - now;
    let ahead = this.#ahead;
    if (roundTrip !== undefined) {
      const trip = Math.max(0, roundTrip);
      this.#noteRoundTrip(trip);
      // No clock of before could have shown that: what was measured is over.
      if (ahead < least - TOLERANCE || ahead > least + trip + TOLERANCE) this.#loosen(Infinity);
      this.#samples.push({ at: now, roundTrip: trip });
      if (this.#samples.length > SAMPLES) this.#samples.shift();
      const half = trip / 2;
      if (half <= this.#margin + DRIFT * (now - this.#marginSince)) {
        this.#margin = half;
        this.#marginSince = now;
        ahead = least + Math.min(half, LONGEST_HALF);
      }
      const best = this.#best(now);
      this.latency = { roundTrip: this.#roundTrip, jitter: this.#jitter, best, latest: trip };
    }
    if (ahead < least) {
      if (ahead < least - TOLERANCE) this.#loosen(Infinity);
      ahead = least;
    }
    if (ahead === this.#ahead) return;
    // A short sleep is in it, and must not count once more with the next one.
    this.#sleptBefore = this.#slept();
    this.#aim(ahead, now);
  }

  /** Look whether this machine has slept meanwhile. */
  noteSleep() {
    const more = this.#slept() - this.#sleptBefore;
    if (Math.abs(more) < MIN_SLEEP) return;
    this.#sleptBefore += more;
    // Less than nothing: somebody has set the clock of this machine back.
    if (more < 0) return;
    this.#ahead += more;
    this.#shown += more;
    this.wakes += 1;
    this.#loosen(LOOSE);
  }

  /** @param {number} margin How many seconds the estimate may be wrong from now on, at least. */
  #loosen(margin) {
    this.#samples = [];
    this.#margin = Math.max(this.#margin, margin);
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
    return this.#samples.length ? Math.min(...this.#samples.map((sample) => sample.roundTrip)) : 0;
  }

  /**
   * @param {number} ahead How far the room is ahead.
   * @param {number} now The time of this machine.
   */
  #aim(ahead, now) {
    const shown = this.#aheadAt(now);
    const [error, before] = [ahead - shown, this.#ahead - shown];
    const rate = error * before > 0 ? this.#rate : SLEW;
    this.#shown = error > REPAIR_TIME ? ahead : shown;
    this.#since = now;
    this.#ahead = ahead;
    this.#rate = Math.min(1, Math.max(rate, Math.abs(error) / REPAIR_TIME));
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
