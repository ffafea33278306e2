/**
 * What time it is in a game's room, as far as a client can know it.
 *
 * @module
 */

// Seconds of a sleep that matter; two clocks of one machine never agree quite.
const MIN_SLEEP = 1;

/**
 * Learns from what the server says how far the room's clock is ahead of this machine's.
 *
 * What the server says is old when it comes. So what is learned is never too much, and the largest
 * counts. Two things change the difference: while this machine sleeps, its clock may stand still;
 * while the server's does, the room's.
 */
export class RoomClock {
  #now;
  #slept;
  #sleptBefore;
  #ahead = 0;

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
    // A sleep is not noted here: then nobody would set the deadlines of open questions anew.
    const slept = this.#slept() - this.#sleptBefore;
    return this.#now() + this.#ahead + (slept >= MIN_SLEEP ? slept : 0);
  }

  /**
   * Return what this machine's clock shows at a time of the room.
   *
   * @param {number} time The time of the room.
   */
  local(time) {
    return time - this.#ahead;
  }

  /**
   * Begin with another room; what was learned is over.
   *
   * @param {number} time The time in it now.
   */
  begin(time) {
    this.#sleptBefore = this.#slept();
    this.#ahead = time - this.#now();
  }

  /**
   * Learn that it was this time in the room; return whether that says something new.
   *
   * @param {number} time The time.
   */
  learn(time) {
    const hasSlept = this.noteSleep();
    const ahead = time - this.#now();
    if (ahead <= this.#ahead) return hasSlept;
    // A short sleep is in it, and must not count once more with the next one.
    this.#sleptBefore = this.#slept();
    this.#ahead = ahead;
    return true;
  }

  /** Look whether this machine has slept meanwhile, and return whether it has. */
  noteSleep() {
    const slept = this.#slept() - this.#sleptBefore;
    if (Math.abs(slept) < MIN_SLEEP) return false;
    this.#sleptBefore += slept;
    // Less than nothing: somebody has set the clock of this machine back.
    if (slept < 0) return false;
    this.#ahead += slept;
    return true;
  }
}
