// The messages of Cards, written by `pgnet-trio types`. When the game changes, write them anew.
// An integer beyond 2^53 - 1 arrives as a bigint.

/** Anything that can travel. */
export type Plain = null | boolean | number | bigint | string | Plain[] | { [key: string]: Plain };

/** A response of which the game's class does not say what it is. */
export type AnyResponse = { message: string; payload: { [key: string]: Plain } };

/** Bytes, as base64 text. */
export type Base64 = string;

/** A time with its timezone, as ISO 8601 text. */
export type IsoTime = string;

/**
 * Every kind of field.
 *
 * Once.
 */
export interface CardsMessages {
  /** What a player may ask of the game, by its message. */
  requests: {
    /** Play a card. */
    Play: Play;
    /** Do nothing. */
    Nothing: Nothing;
    default: default_;
    Tree: TreeInput;
  };
  /** What each of these is answered with. */
  responses: {
    Play:
      | { message: "Played"; payload: Played }
      | { message: "TooLate"; payload: TooLate }
      | { message: ""; payload: Record<string, never> };
    Nothing: { message: ""; payload: Record<string, never> };
    default: AnyResponse | { message: "Played"; payload: Played };
    Tree: AnyResponse;
  };
  /** What the game says unasked. */
  pushes: {
    Played: Played;
    Nothing: Nothing;
  };
  /** What the game asks a player. */
  questions: {
    Choose: Choose;
  };
  /** What a player answers. */
  answers: {
    Chosen: Chosen;
  };
  /** What the game shows a player. */
  state: Table | null;
}

/**
 * A player's move.
 *
 * Attributes:
 *     card: Which card.
 */
export interface Play {
  card: CardInput;
  to?: string | null;
  where?: Point | null;
  cards?: CardInput[];
  pair?: [number, string];
  any_number?: number[];
  either?: number | string | boolean[];
  level?: Level;
  how?: "fast" | "slow" | 3 | true | null;
  counts?: Record<string, number>;
  by_seat?: Record<number, (CardInput | null)[]>;
  by_suit?: Partial<Record<Suit, number>>;
  by_word?: Partial<Record<"one" | "two", boolean>>;
  mixed?: Mixed;
  extra?: Plain;
  items?: (number | null)[];
  bare?: Plain[];
  bare_map?: Record<string, Plain>;
  nested?: [number, number][];
  maps?: Record<string, number>[];
  pairs?: ([number, string] | null)[];
  ways?: ("up" | "down")[];
  moves?: (Step | Jump)[];
  at?: IsoTime | null;
  proof?: Base64;
}

export interface Card {
  suit: Suit;
  rank: number;
}

export interface CardInput {
  suit: Suit;
  rank?: number;
}

/** The four suits; *\/ ends no comment here. */
export type Suit = "hearts" | "spades";

export interface Point {
  x: number;
  y?: number;
}

export type Level = 1 | bigint;

export type Mixed = "a \"b\"" | 5;

export interface Step {
  to: number;
  kind: "step";
  fast?: boolean;
}

export interface Jump {
  over?: number;
  kind: "jump";
}

/** The answer to a move, and news of it. */
export interface Played {
  card: Card;
  at: IsoTime;
  proof: Base64;
}

export type TooLate = Record<string, never>;

export type Nothing = Record<string, never>;

/** A name that is a word of the language. */
export interface default_ {
  new: number;
  "größe": number;
}

export interface Tree {
  value: number;
  children: Tree[];
}

export interface TreeInput {
  value: number;
  children?: TreeInput[];
}

export interface Choose {
  cards: Card[];
  seconds: number;
}

export interface Chosen {
  card: CardInput;
}

/** What a player sees. */
export interface Table {
  page: PageOfCard;
  seats: PageOfInt;
  both: BothOfListOfSuitAndDictOfStrOfPageOfCard;
  tree: Tree;
  record: Record_;
  plain: Plain2;
  default: default_;
  other: Card2;
}

/** A part of a list. */
export interface PageOfCard {
  items: Card[];
  next: PageOfCard | null;
}

/** A part of a list. */
export interface PageOfInt {
  items: number[];
  next: PageOfInt | null;
}

export interface BothOfListOfSuitAndDictOfStrOfPageOfCard {
  one: Suit[];
  other: Record<string, PageOfCard>;
}

export interface Record_ {
  value: number;
}

export interface Plain2 {
  value: Plain;
}

export interface Card2 {
  back: string;
}
