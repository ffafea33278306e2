/**
 * How long a session pauses between tries to come back, and when it gives up. It knows no clock and
 * no randomness: whoever asks hands both in.
 *
 * @module
 */

/** Seconds for connecting and logging in; a busy server may take some for the password. */
export const CONNECT_TIMEOUT = 15;

/** Seconds until the next of several addresses is tried, where nobody answers at one. */
export const REACH_TIMEOUT = 5;

// Seconds for one try to come back, which costs the server next to nothing.
const RESUME_TIMEOUT = 5;

// Seconds between tries, at most: each pause is a random part of it, so that many do not come at once.
const FIRST_PAUSE = 0.1;
const LONGEST_PAUSE = 5;

// The same where a server has sent this client to another one that did not let it in: that one may be
// dead, which the first one will soon know, and then have this client wait there.
const LONGEST_PAUSE_WHEN_SENT = 2.5;

/**
 * The patience of one session, kept over its connections.
 *
 * Only a connection that gets something done resets it. Otherwise a request that breaks every
 * connection would be sent for ever, and without a pause.
 */
export class Backoff {
  #pause = FIRST_PAUSE;
  #isStuck = false;

  /** @param {number} reconnectFor Seconds from a drop to giving up. */
  constructor(reconnectFor) {
    /** Seconds from a drop to giving up. */
    this.reconnectFor = reconnectFor;
    /** Seconds that the next try to come back may take. */
    this.resumeTimeout = RESUME_TIMEOUT;
    /** The time at which a session that is not back ends. */
    this.giveUpAt = Infinity;
  }

  /**
   * Start the time for coming back; a session that is stuck has what is left of it.
   *
   * @param {number} now The time.
   */
  noteDrop(now) {
    if (!this.#isStuck) this.giveUpAt = now + this.reconnectFor;
  }

  /**
   * Return the seconds until the next try, and lengthen the pause after it.
   *
   * @param {number} share A random number from 0 to 1.
   * @param {number} sentAfter Seconds after which a server has sent the client to where the last try
   *   failed, which count as a pause too; -1 where none has.
   */
  nextPause(share, sentAfter) {
    const longest = sentAfter < 0 ? LONGEST_PAUSE : LONGEST_PAUSE_WHEN_SENT;
    const pause = share * Math.min(this.#pause, longest);
    this.#pause = Math.min(2 * this.#pause, longest);
    return Math.max(0, pause - Math.max(0, sentAfter));
  }

  /** Begin with short pauses again: something has changed for the better. */
  hurry() {
    this.#pause = FIRST_PAUSE;
  }

  /** Allow the next try more time: this one took longer than it may. */
  noteTimeout() {
    this.resumeTimeout = Math.min(2 * this.resumeTimeout, CONNECT_TIMEOUT);
  }

  /**
   * Judge a connection that ended.
   *
   * @param {number} lasted Seconds from the log-in, or resume, to the end.
   * @param {boolean} progressed Whether a message was settled in either direction.
   * @param {boolean} unsettled Whether requests wait that the server has not settled.
   * @returns {boolean} Whether it got something done.
   */
  noteConnection(lasted, progressed, unsettled) {
    const wasOfUse = progressed || lasted >= LONGEST_PAUSE;
    if (wasOfUse) {
      this.resumeTimeout = RESUME_TIMEOUT;
      this.#pause = FIRST_PAUSE;
      this.#isStuck = false;
    } else {
      this.#isStuck = unsettled;
    }
    return wasOfUse;
  }
}
