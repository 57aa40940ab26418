/**
 * A mesh in virtual time around the entry's own router: clients ask, wait where all slots are taken, and go on
 * elsewhere where a peer is lost. Simulated are the peers, the clients and the clock; the same seed gives the same run.
 */
import type { Prompt } from "@weft/engine/Generation"
import type { Attachment } from "@weft/entry/Links"
import type { Errand } from "@weft/entry/routing/Errand"
import { type PolicyName, policies } from "@weft/entry/routing/Policies"
import * as PromptBlocks from "@weft/entry/routing/PromptBlocks"
import { Router } from "@weft/entry/routing/Router"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import { fromPublicKey, type PeerId } from "@weft/mesh/PeerId"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import { Either } from "effect"
import { SimulatedPeer, type Speed } from "./SimulatedPeer.ts"

/** Represents one peer of a simulation. */
export interface PeerSetting extends Speed {
  readonly slots: number
  readonly rttMs: number
  /** Whether it is the host of a split. */
  readonly isSplit?: boolean
  /** Returns how many times slower it is at a moment. */
  readonly slowness?: (nowMs: number) => number
  /** Returns whether it is there at a moment; looked at every 100 ms. */
  readonly isThere?: (nowMs: number) => boolean
}

/** Represents one question. */
export interface Question {
  readonly caller: string
  readonly prompt: Prompt
  readonly answerTokens: number
  /** Called with its answer; asks on, or not. */
  readonly answered: (answer: Answer, world: World) => void
}

/** Represents one answer. */
export interface Answer {
  readonly peer: number
  readonly askedMs: number
  /** When it was first sent to a peer. */
  readonly sentMs: number
  readonly firstMs: number
  readonly endMs: number
  readonly promptTokens: number
  readonly cachedTokens: number
  /** Peers that failed it before. */
  readonly failures: number
}

/** Represents a running simulation. */
export interface World {
  readonly nowMs: () => number
  readonly at: (ms: number, act: () => void) => void
  readonly ask: (question: Question) => void
}

/** Represents what came of a simulation. */
export interface Outcome {
  /** In the order of their ends. */
  readonly answers: ReadonlyArray<Answer>
  /** Conversations that went on at another peer. */
  readonly moves: number
  readonly waiting: number
}

/** Runs a simulation until `untilMs`. */
export const simulate = (options: {
  readonly policy: PolicyName
  readonly peers: ReadonlyArray<PeerSetting>
  readonly untilMs: number
  /** Asks the first questions. */
  readonly begin: (world: World) => void
}): Outcome => new Simulation(options.policy, options.peers).run(options.untilMs, options.begin)

/** Returns the id of the `number`th peer of a simulation. */
export const idOf = (number: number): PeerId =>
  fromPublicKey(
    new Uint8Array(32)
      .fill(3)
      .with(30, number >> 8)
      .with(31, number & 0xff)
  )

/** Returns what a simulated peer announces. */
export const infoOf = (number: number, models: ReadonlyArray<string>, slots: number, isSplit = false): PeerInfo => ({
  id: idOf(number),
  name: `peer ${number}`,
  version: "0.0.0",
  memoryBytes: 2 ** 33,
  threads: 4,
  models: models.map((id) => ({
    id,
    sha256: "0".repeat(64),
    sizeBytes: 2 ** 30,
    architecture: "llama",
    quantization: "F16",
    contextTokens: 8_192,
    slots,
    ...(isSplit ? { stages: [0, 1].map((stage) => ({ peer: idOf(number), from: stage, to: stage + 1 })) } : {})
  }))
})

// internal

const model = "simulated"
/** How often a peer that comes and goes is looked at. */
const lookEveryMs = 100

interface Asked {
  readonly question: Question
  /** The prompt as the router reads it, and as it is. */
  readonly prompt: PromptBlocks.PromptBlocks
  readonly whole: PromptBlocks.PromptBlocks
  readonly askedMs: number
  sentMs: number | undefined
  failures: number
  readonly excluded: Set<PeerId>
}

interface Underway {
  readonly asked: Asked
  readonly errand: Errand
}

interface Machine {
  readonly setting: PeerSetting
  readonly peer: SimulatedPeer
  readonly attachment: { -readonly [Field in keyof Attachment]: Attachment[Field] }
  readonly underway: Set<Underway>
  link: number
}

class Simulation implements World {
  readonly #router: Router
  readonly #machines: ReadonlyMap<PeerId, Machine>
  readonly #attachments = new Map<PeerId, Attachment>()
  readonly #answers: Array<Answer> = []
  readonly #events: Array<{ readonly ms: number; readonly act: () => void }> = []
  #waiting: Array<Asked> = []
  #directory = PeerDirectory.empty
  #nowMs = 0
  #links = 0

  constructor(policy: PolicyName, peers: ReadonlyArray<PeerSetting>) {
    this.#router = new Router({ policy: policies[policy], trust: new Map(), figuresOf: () => undefined, turn: 0 })
    this.#machines = new Map(
      peers.map((setting, number) => [
        idOf(number),
        {
          setting,
          peer: new SimulatedPeer(setting, setting.slots),
          attachment: { inFlight: 0, rttMs: setting.rttMs, lastElectedMs: 0 },
          underway: new Set<Underway>(),
          link: 0
        }
      ])
    )
  }

  nowMs = (): number => this.#nowMs

  at = (ms: number, act: () => void): void => {
    // Kept in order; events of one moment in the order they were made.
    let [low, high] = [0, this.#events.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#events[middle]?.ms ?? 0) > ms) low = middle + 1
      else high = middle
    }
    this.#events.splice(low, 0, { ms, act })
  }

  ask = (question: Question): void => {
    const prompt = this.#router.readPrompt(model, question.caller, question.prompt)
    const whole = PromptBlocks.of(model, question.caller, question.prompt)
    const times = { askedMs: this.#nowMs, sentMs: undefined }
    const asked = { question, prompt, whole, ...times, failures: 0, excluded: new Set<PeerId>() }
    if (!this.#send(asked)) this.#waiting.push(asked)
  }

  run(untilMs: number, begin: (world: World) => void): Outcome {
    this.#look()
    begin(this)
    for (let next = this.#events.pop(); next !== undefined && next.ms <= untilMs; next = this.#events.pop()) {
      this.#nowMs = next.ms
      next.act()
    }
    return { answers: this.#answers, moves: this.#router.counts.moves, waiting: this.#waiting.length }
  }

  /** Peers come and go. */
  readonly #look = (): void => {
    for (const [number, [id, machine]] of [...this.#machines].entries()) {
      const isThere = machine.setting.isThere?.(this.#nowMs) ?? true
      if (isThere === this.#directory.peers.has(id)) continue
      if (isThere) this.#come(number, id, machine)
      else this.#go(id, machine)
    }
    this.#serve()
    this.at(this.#nowMs + lookEveryMs, this.#look)
  }

  #come(number: number, id: PeerId, machine: Machine): void {
    machine.link = ++this.#links
    machine.attachment.inFlight = 0
    this.#attachments.set(id, machine.attachment)
    const info = infoOf(number, [model], machine.setting.slots, machine.setting.isSplit)
    this.#directory = Either.getOrThrow(PeerDirectory.register(this.#directory, info, machine.link, this.#nowMs))
  }

  #go(id: PeerId, machine: Machine): void {
    this.#directory = PeerDirectory.leave(this.#directory, id, machine.link)
    this.#attachments.delete(id)
    machine.peer.restart()
    const lost = [...machine.underway]
    machine.underway.clear()
    for (const { asked, errand } of lost) {
      errand.ended("failed", this.#nowMs)
      asked.failures++
      asked.excluded.add(id)
      if (!this.#send(asked)) this.#waiting.push(asked)
    }
  }

  /** Sends a question where somebody is free. */
  #send(asked: Asked): boolean {
    const view = { directory: this.#directory, attachments: this.#attachments, nowMs: this.#nowMs }
    const wanted = { model, excluded: asked.excluded, labels: {}, perSlotMax: 1 }
    const route = this.#router.choose(view, wanted, asked.prompt)
    // Who failed may be asked again when nobody else is there.
    if (Either.isLeft(route)) {
      if (route.left.reason === "NoPeer") asked.excluded.clear()
      return false
    }
    const { peer: id } = route.right.choice.candidate
    const machine = this.#machines.get(id)
    if (machine === undefined) throw new Error("the router chose a peer that is not there")
    const errand = this.#router.sent(route.right, asked.failures > 0, this.#nowMs)
    machine.attachment.inFlight++
    machine.attachment.lastElectedMs = this.#nowMs
    asked.sentMs ??= this.#nowMs
    this.#underway({ asked, errand }, machine, [...this.#machines.keys()].indexOf(id))
    return true
  }

  #underway(one: Underway, machine: Machine, peer: number): void {
    const { asked, errand } = one
    const { answerTokens } = asked.question
    const { blocks, tokens: promptTokens } = asked.whole
    const slowness = machine.setting.slowness?.(this.#nowMs) ?? 1
    const half = machine.setting.rttMs / 2
    const served = machine.peer.serve({ blocks, promptTokens, answerTokens }, slowness, this.#nowMs + half)
    machine.underway.add(one)
    this.at(served.firstMs + half, () => machine.underway.has(one) && errand.begun(this.#nowMs))
    this.at(served.endMs + half, () => {
      if (!machine.underway.delete(one)) return
      errand.ended("whole", this.#nowMs)
      machine.attachment.inFlight--
      const answer = {
        peer,
        askedMs: asked.askedMs,
        sentMs: asked.sentMs ?? asked.askedMs,
        firstMs: served.firstMs + half,
        endMs: this.#nowMs,
        promptTokens,
        cachedTokens: served.cachedTokens,
        failures: asked.failures
      }
      this.#answers.push(answer)
      this.#serve()
      asked.question.answered(answer, this)
    })
  }

  #serve(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const asked of waiting) if (!this.#send(asked)) this.#waiting.push(asked)
  }
}
