/**
 * Long prompts to a split and to one peer with the whole model, one right behind the other, so that what slows this
 * computer down for a while slows both. The law is `first token = the slowest stage's own share + one loop`.
 */
import { availableParallelism } from "node:os"
import * as Figures from "../Figures.ts"
import type * as Mesh from "../Mesh.ts"
import * as Report from "../Report.ts"
import type * as Asking from "./Asking.ts"
import * as HalfSpeed from "./HalfSpeed.ts"

/** Represents somebody who is sent prompts, and the peers that compute them. */
export interface Prompted {
  readonly asking: Asking.Asking
  readonly peers: ReadonlyArray<Mesh.Peer>
}

/** Represents what the law says of a split of three. */
export interface PromptLaw {
  /** Of the whole model's time, the slowest stage's. */
  readonly share: number
  readonly loopMs: number
}

/** Measures prompts of all lengths, then the longest again on computers half as fast. */
export const measure = async (
  whole: Prompted,
  split: Prompted,
  law: PromptLaw,
  tell: (line: string) => void
): Promise<Pick<Report.Report, "figures" | "reach">> => {
  const plain: Array<Prompts> = []
  for (const promptTokens of promptsTokens) plain.push(await pairsOf(whole, split, promptTokens, 2))
  tell("a long prompt at half the speed")
  const slowed = await pairsOf(slowedOf(whole), slowedOf(split), longTokens, 1)
  const ratios = { plain: ratioOf(plain.at(-1), law), halfSpeed: ratioOf(slowed, law) }
  // Three stages have work at once: two processors are three computers only where each computes half of the time.
  const isSlowed = availableParallelism() < stages
  const what = `first token of ${longTokens} ÷ (slowest share + a loop of ${law.loopMs} ms), ${stages} stages`
  const value = isSlowed ? ratios.halfSpeed : ratios.plain
  return {
    figures: { prompts: plain, slowedPrompts: slowed, promptRatio: ratios },
    reach: [Report.atMost(isSlowed ? `${what}, each on half a processor` : what, value, 1.3)]
  }
}

// internal

/** Milliseconds to the first token of prompts of one length. */
interface Prompts {
  readonly promptTokens: number
  readonly pairs: ReadonlyArray<{ readonly wholeMs: number; readonly splitMs: number }>
}

const stages = 3
const longTokens = 2048
const promptsTokens = [512, longTokens]

/** Returns `count` pairs: one of the longest takes a minute, and more than two on slower computers. */
const pairsOf = async (whole: Prompted, split: Prompted, tokens: number, count: number): Promise<Prompts> => {
  const pairs: Array<Prompts["pairs"][number]> = []
  let promptTokens = Number.NaN
  for (let pair = 0; pair < count; pair++) {
    const question = { maxTokens: 2, promptTokens: tokens }
    const first = await whole.asking.firstMs(question)
    const second = await split.asking.firstMs(question)
    promptTokens = second.promptTokens
    pairs.push({ wholeMs: first.ms, splitMs: second.ms })
  }
  return { promptTokens, pairs }
}

/** Asks while the peers are half as fast. */
const slowedOf = ({ asking, peers }: Prompted): Prompted => ({
  peers,
  asking: { ...asking, firstMs: (question) => HalfSpeed.during(peers, () => asking.firstMs(question)) }
})

/** Returns a split's time over what the law says, median of the pairs. */
const ratioOf = (prompts: Prompts | undefined, { loopMs, share }: PromptLaw): number =>
  Figures.median((prompts?.pairs ?? []).map(({ splitMs, wholeMs }) => splitMs / (wholeMs * share + loopMs)))
