/** Asks a ring the questions of the benchmark of splits, and checks that each answer came whole. */
import type * as ChatStream from "../http/ChatStream.ts"
import { ask, decodeRate, firstTextMs, textOf } from "../http/ChatStream.ts"
import type { Seeded } from "../Seeded.ts"
import type { Ring } from "./Ring.ts"

/** Words of the random models' vocabulary: whatever a model would say, a bias makes it say one of these. */
const words: ReadonlyArray<number> = [
  15468, 17867, 17156, 11556, 25139, 14016, 23333, 29273, 11230, 19676, 14136, 28186, 25677, 30196, 15550, 13576
]
/** Strong enough that nothing else is said. */
const biasMost = 100

/** Represents a question. */
export interface Question {
  /** How many words the answer is made of: 1 is as draftable as text can be; all there are where absent. */
  readonly words?: number
  readonly maxTokens: number
  /** Tokens of the prompt, about; a few where absent. */
  readonly promptTokens?: number
}

/** Represents a question as it was put; the same one has the same answer everywhere. */
export interface Posed {
  readonly content: string
  readonly maxTokens: number
  readonly words: number | undefined
}

/** Represents who asks. */
export interface Asking {
  readonly one: (question: Question) => Promise<ChatStream.ChatAnswer>
  /** Puts a question once more. */
  readonly again: (posed: Posed) => Promise<ChatStream.ChatAnswer>
  /** Returns milliseconds per token of one answer, from its first token to its last. */
  readonly msPerToken: (question: Question) => Promise<number>
  /** Returns tokens per second of answers asked at once, from the first request to the last end. */
  readonly perSecond: (count: number, question: Question) => Promise<number>
  /** Returns milliseconds to the first text, and how many tokens the prompt had. */
  readonly firstMs: (question: Question) => Promise<{ readonly ms: number; readonly promptTokens: number }>
}

/**
 * Returns who asks `model` of a ring, or of an entry alone. No prompt comes twice, and they are the same for the same
 * `chance`. `onAnswer` is told each answer.
 */
export const make = (
  { entry }: Pick<Ring, "entry">,
  model: string,
  chance: Seeded,
  onAnswer: (posed: Posed, text: string) => void = () => {}
): Asking => {
  const again: Asking["again"] = async (posed) => {
    const { content, maxTokens, words: few } = posed
    const bias = Object.fromEntries(words.slice(0, few ?? 0).map((word) => [word, biasMost]))
    const answer = await ask(entry.connections, {
      model,
      messages: [{ role: "user", content }],
      maxTokens,
      headers: { "x-weft-profile": "exact" },
      ...(few === undefined ? {} : { more: { logit_bias: bias } })
    }).answer
    const { errorCode, status, usage, whole } = answer
    if (!whole || usage?.completionTokens !== maxTokens)
      throw new Error(`${usage?.completionTokens} of ${maxTokens} tokens came: ${status} ${errorCode}`)
    onAnswer(posed, textOf(answer))
    return answer
  }
  const one: Asking["one"] = ({ maxTokens, promptTokens = 0, words }) => {
    const filling = " a fox".repeat(Math.max(1, Math.round((promptTokens - fixedTokens) / 2)))
    return again({ content: `${nonce(chance)}${filling}`, maxTokens, words })
  }
  return {
    one,
    again,
    msPerToken: async (question) => 1000 / decodeRate(await one(question)),
    perSecond: async (count, question) => {
      const answers = await Promise.all(Array.from({ length: count }, () => one(question)))
      const startedMs = Math.min(...answers.map((answer) => answer.startedMs))
      const endedMs = Math.max(...answers.map((answer) => answer.endedMs))
      return (count * question.maxTokens) / ((endedMs - startedMs) / 1000)
    },
    firstMs: async (question) => {
      const answer = await one(question)
      return { ms: firstTextMs(answer), promptTokens: answer.usage?.promptTokens ?? Number.NaN }
    }
  }
}

// internal

/** Tokens of a prompt beside its filling: the template's and the nonce's. */
const fixedTokens = 9

/** Three letters and three digits are six tokens, whatever they are. */
const nonce = (chance: Seeded): string =>
  Array.from({ length: 3 }, () => `${chance.pick(["q", "x", "z", "j", "v"])}${chance.below(10)}`).join("")
