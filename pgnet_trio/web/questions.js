/**
 * A question of the game to a player, as the program sees it.
 *
 * @import { Answer } from "./errors.js"
 * @module
 */

import { SessionLost } from "./errors.js";

/**
 * What a question needs of the view of the game that asks it.
 *
 * @typedef {object} QuestionOwner
 * @property {(question: Question<any, any, any>) => boolean} isOpen Says whether the game still waits for the answer.
 * @property {(question: Question<any, any, any>) => number} secondsLeft Says how long it does.
 * @property {(question: Question<any, any, any>, message: string, payload: object) => Promise<Answer>} answer Answers;
 *     throws `Rejected` where the game refuses the answer to a question that is open.
 */

/** Status of an answer that was refused. */
const REFUSED = 2;

/**
 * Something that the game asks this player, until it is answered or withdrawn.
 *
 * @template {string} [M=string]
 * @template [P=any]
 * @template {object} [A=Record<string, any>]
 */
export class Question {
  #owner;
  #stop;

  /**
   * @param {number} id Its number.
   * @param {M} message What is asked, by its name.
   * @param {P} payload What belongs to it.
   * @param {AbortController} stop Ends it.
   * @param {QuestionOwner} owner The view of the game.
   */
  constructor(id, message, payload, stop, owner) {
    /** Its number; no two questions of a session have the same. */
    this.id = id;
    /** What is asked: the name of a typed message, or any text. */
    this.message = message;
    /** What belongs to it: the fields of a typed message. */
    this.payload = payload;
    this.#stop = stop;
    this.#owner = owner;
  }

  /** Aborted when the question is no longer open: answered, withdrawn, too late, or out of the game. */
  get signal() {
    return this.#stop.signal;
  }

  /** Whether an answer still counts. */
  get isOpen() {
    return !this.#stop.signal.aborted;
  }

  /** The seconds until the time is up; infinite where there is no limit. */
  get secondsLeft() {
    return this.#owner.secondsLeft(this);
  }

  /**
   * Answer the question.
   *
   * An answer that comes too late is no error: whoever answers cannot know that the game goes on
   * without them.
   *
   * @template {keyof A & string} K
   * @param {K} message The answer: the name of a typed message, or any text.
   * @param {A[K]} [payload] What belongs to it.
   * @returns {Promise<Answer>} What the game says of it, with status 0; or, where the question is no
   *     longer open, an answer with another status.
   * @throws {Rejected} The game refuses the answer; the question is still open.
   * @throws {Disconnected} The session ended for good.
   */
  async answer(message, payload) {
    if (!this.#owner.isOpen(this)) return tooLate("");
    try {
      return await this.#owner.answer(this, message, payload ?? {});
    } catch (error) {
      if (error instanceof SessionLost) return tooLate(`: ${error.message}`);
      throw error;
    }
  }
}

/**
 * @param {string} why
 * @returns {Answer}
 */
function tooLate(why) {
  return { message: `This question is no longer open${why}`, payload: {}, status: REFUSED, createdOn: null, code: "question_closed" };
}
