/**
 * What a model is expected to be good for: an operator names models by patterns, each tier promises how soon and how
 * fast answers come. Pure; `Gate.ts` compares promises with what was measured.
 */
import { Data, Either } from "effect"

/** What a model is good for: a chat that flows, an answer worth waiting for, or whatever comes. */
export type TierName = "daily-driver" | "capacity" | "experimental"

/** The tiers, the strictest first. */
export const tierNames: ReadonlyArray<TierName> = ["daily-driver", "capacity", "experimental"]

/** Returns whether a word is the name of a tier. */
export const isTierName = (word: string): word is TierName => tierNames.some((name) => name === word)

/** Represents what a tier promises of an hour's medians. */
export interface TierPromise {
  readonly ttftMsMax: number
  readonly tokensPerSecondMin: number
}

/** Returns what a tier promises; undefined where it promises nothing. */
export const promiseOf = (tier: TierName): TierPromise | undefined => promises[tier]

/** Represents which models belong to a tier: those that one of the patterns matches as a whole. */
export interface TierRule {
  readonly tier: TierName
  /** `*` stands for any characters, `?` for one; as `toPlain` writes them. */
  readonly patterns: ReadonlyArray<string>
}

/** Represents the tiers of an entry; the first rule that matches a model counts. */
export type Tiers = ReadonlyArray<TierRule>

/** Represents a list of tiers that is none. */
export class TiersError extends Data.TaggedError("TiersError")<{ readonly reason: string }> {
  override get message(): string {
    return `${this.reason}; write TIER=PATTERN|PATTERN,…, for example daily-driver=*-1b*|*-3b*,capacity=*70b*`
  }
}

/** Returns the tier of a model; one that no pattern names is experimental, of which nothing is promised. */
export const tierOf = (tiers: Tiers, model: string): TierName => {
  const name = toPlain(model)
  return tiers.find(({ patterns }) => patterns.some((pattern) => matches(pattern, name)))?.tier ?? "experimental"
}

/** Reads `TIER=PATTERN|PATTERN,…`. */
export const parseList = (text: string): Either.Either<Tiers, TiersError> =>
  Either.all(
    text
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "")
      .map(parseRule)
  )

/** Returns the patterns of names that hold one of these sizes as a word: `4b` is none in `4bit`. */
const sized = (...sizes: ReadonlyArray<string>): ReadonlyArray<string> =>
  sizes.flatMap((size) => ["", "-*", ".*"].map((rest) => `*-${size}${rest}`))

/**
 * The tiers where an operator names none, by the size that names of models hold: up to 9 billion parameters, or 3 of a
 * mixture that are active, a desktop computes 8 and more tokens a second; larger ones are worth a wait.
 */
export const tiersDefault: Tiers = [
  {
    tier: "daily-driver",
    patterns: [
      "*tiny*",
      ...sized("135m", "270m", "350m", "360m", "500m", "0.?b", "1b", "1.?b", "2b", "2.?b", "3b", "3.?b", "4b"),
      ...sized("7b", "8b", "9b", "a3b")
    ]
  },
  {
    tier: "capacity",
    patterns: sized("1?b", "2?b", "3?b", "4?b", "6?b", "7?b", "1??b", "2??b", "8x7b", "8x22b")
  }
]

// internal

/** design.md section 5: what people wait for a chat, and for an answer of the largest models. */
const promises: Readonly<Record<TierName, TierPromise | undefined>> = {
  "daily-driver": { ttftMsMax: 3_000, tokensPerSecondMin: 8 },
  capacity: { ttftMsMax: 15_000, tokensPerSecondMin: 0.8 },
  experimental: undefined
}

/** Most patterns of one tier and characters of one: every request of a model that nobody serves tries them all. */
const patternsMax = 64
const patternCharactersMax = 128

/** Names of models differ in how they join their parts; neither that nor their case makes a difference. */
const toPlain = (name: string): string => name.toLowerCase().replaceAll(/[_:/\s]/g, "-")

const parseRule = (part: string): Either.Either<TierRule, TiersError> => {
  const at = part.indexOf("=")
  const tier = part.slice(0, Math.max(0, at)).trim()
  const patterns = part
    .slice(at + 1)
    .split("|")
    .map((pattern) => toPlain(pattern.trim()))
  if (!isTierName(tier)) {
    return Either.left(new TiersError({ reason: `'${part}' begins with none of ${tierNames.join(", ")}` }))
  }
  if (patterns.length > patternsMax) {
    return Either.left(new TiersError({ reason: `${tier} has more than ${patternsMax} patterns` }))
  }
  return patterns.every(({ length }) => length > 0 && length <= patternCharactersMax)
    ? Either.right({ tier, patterns })
    : Either.left(
        new TiersError({ reason: `a pattern of ${tier} is empty or longer than ${patternCharactersMax} characters` })
      )
}

/** Time is at most the product of both lengths, as only the last `*` is ever tried anew. */
const matches = (pattern: string, name: string): boolean => {
  let [at, inName, star, resumed] = [0, 0, -1, 0]
  while (inName < name.length) {
    if (pattern[at] === "*") {
      star = at++
      resumed = inName
    } else if (pattern[at] === "?" || pattern[at] === name[inName]) {
      at++
      inName++
    } else if (star >= 0) {
      at = star + 1
      inName = ++resumed
    } else return false
  }
  while (pattern[at] === "*") at++
  return at === pattern.length
}
