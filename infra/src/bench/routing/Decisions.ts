/** What one decision costs: a router over a directory of many peers and models, while heartbeats change it. */
import type { Prompt } from "@weft/engine/Generation"
import type { Attachment } from "@weft/entry/Links"
import type { Errand } from "@weft/entry/routing/Errand"
import { type PolicyName, policies } from "@weft/entry/routing/Policies"
import { Router } from "@weft/entry/routing/Router"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import { Either } from "effect"
import * as Seeded from "../Seeded.ts"
import { idOf, infoOf } from "./Simulation.ts"

/** Peers and models, and how many of the models a peer has: 50 candidates each. */
export const peerCount = 500
export const modelCount = 20
const modelsPerPeer = 2
const slots = 4

/** Answers under way: half of what a model's peers can give at once. */
const underwayCount = (peerCount * slots) / 2
/** Decisions that are not counted, while code is compiled and paces are learnt. */
const warmDecisions = 5_000

/** Represents the times of decisions, in microseconds. */
export interface DecisionTimes {
  /** Whom to ask: the least of three times the same, as what else the machine does is no part of it. */
  readonly chooseUs: ReadonlyArray<number>
  /** Whom to ask, once, and what is noted of it, as the clock on the wall has it. */
  readonly decideUs: ReadonlyArray<number>
  /** Hashing the prompt. */
  readonly readUs: ReadonlyArray<number>
}

/** Returns the models of a peer. */
export const modelsOf = (peer: number): ReadonlyArray<string> =>
  Array.from({ length: modelsPerPeer }, (_, at) => `model ${(peer + at * 7) % modelCount}`)

/** Makes `count` decisions for prompts of up to 8 KiB, a third of which begin alike. */
export const decide = (policy: PolicyName, count: number, seed: number): DecisionTimes => {
  const seeded = Seeded.make(seed)
  const router = new Router({ policy: policies[policy], trust: new Map(), figuresOf: () => undefined, turn: 0 })
  const attachments = new Map<PeerId, { -readonly [Field in keyof Attachment]: Attachment[Field] }>()
  let directory = PeerDirectory.empty
  for (let peer = 0; peer < peerCount; peer++) {
    directory = Either.getOrThrow(PeerDirectory.register(directory, infoOf(peer, modelsOf(peer), slots), peer, 0))
    attachments.set(idOf(peer), { inFlight: 0, rttMs: 5 + seeded.below(150), lastElectedMs: 0 })
  }
  const underway: Array<() => void> = []
  const times = { chooseUs: [] as number[], decideUs: [] as number[], readUs: [] as number[] }
  for (let decision = 0; decision < count + warmDecisions; decision++) {
    const nowMs = decision * 2
    const model = `model ${seeded.below(modelCount)}`
    const prompt = promptOf(seeded)
    const peer = seeded.below(peerCount)
    const load = {
      state: "ready",
      models: modelsOf(peer).map((id) => ({ id, ready: true, active: seeded.below(3), queued: 0 }))
    } as const
    directory = PeerDirectory.heartbeat(directory, idOf(peer), peer, load, nowMs)

    const beganMs = performance.now()
    const read = router.readPrompt(model, "caller", prompt)
    const readMs = performance.now()
    const wanted = { model, excluded: nobody, labels: {}, perSlotMax: 1 }
    const view = { directory, attachments, nowMs }
    const route = router.choose(view, wanted, read)
    const choseMs = performance.now()
    router.choose(view, wanted, read)
    const againMs = performance.now()
    router.choose(view, wanted, read)
    const thirdMs = performance.now()
    const errand = Either.isRight(route) ? router.sent(route.right, false, nowMs) : undefined
    const sentMs = performance.now()

    if (decision >= warmDecisions) {
      times.readUs.push((readMs - beganMs) * 1_000)
      times.chooseUs.push(Math.min(choseMs - readMs, againMs - choseMs, thirdMs - againMs) * 1_000)
      times.decideUs.push((choseMs - readMs + sentMs - thirdMs) * 1_000)
    }
    if (Either.isLeft(route) || errand === undefined) throw new Error("there is always somebody to ask")
    const { peer: chosen } = route.right.choice.candidate
    underway.push(ending(errand, attachments.get(chosen), nowMs, seeded))
    if (underway.length > underwayCount) underway.splice(seeded.below(underway.length), 1)[0]?.()
  }
  return times
}

// internal

const nobody: ReadonlySet<PeerId> = new Set()

const ending = (
  errand: Errand,
  attachment: { inFlight: number; lastElectedMs: number } | undefined,
  nowMs: number,
  seeded: Seeded.Seeded
): (() => void) => {
  if (attachment !== undefined) {
    attachment.inFlight++
    attachment.lastElectedMs = nowMs
  }
  errand.begun(nowMs + 20 + seeded.below(400))
  return () => {
    errand.ended("whole", nowMs + 2_000)
    if (attachment !== undefined) attachment.inFlight--
  }
}

const promptOf = (seeded: Seeded.Seeded): Prompt => {
  const beginning = seeded.below(3) === 0 ? `tenant ${seeded.below(50)} ` : `${seeded.bits()} `
  const text = beginning.repeat(Math.ceil((256 + seeded.below(8_000)) / beginning.length))
  return {
    _tag: "Chat",
    messages: [
      { role: "system", content: text },
      { role: "user", content: `${seeded.bits()}` }
    ]
  }
}
