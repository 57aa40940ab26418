/**
 * What the router remembers of one peer with one model, over links and registrations: its pace, what it was sent, and
 * who waits there. Owned by `Router.ts`; policies see it as a `Candidate`.
 */
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import type { Attachment } from "../Links.ts"
import type { Figures, Mode } from "../performance/PerformanceState.ts"
import type { Errand } from "./Errand.ts"
import * as Pace from "./Pace.ts"
import type { Candidate } from "./Policy.ts"
import { type SentPrompt, SentPrompts } from "./SentPrompts.ts"

/** Most prompts that are remembered of one peer and model: an engine has no more slots. */
const promptsMax = 64

/** Represents one peer with one model. */
export class PeerModel implements Candidate {
  readonly peer: PeerId
  readonly model: string
  pace: Pace.Pace = Pace.unknown
  mode: Mode = "solo"
  slots = 1
  inFlight = 0
  elsewhere = 0
  rttMs: number | undefined = undefined
  lastChosenMs = 0
  /** The last hour as `Performance` has it, and when it was read. */
  figures: { readonly of: Figures | undefined; readonly readMs: number } | undefined
  readonly #sent = new SentPrompts()
  /** Errands that have not begun, the oldest first. */
  readonly #waiting = new Set<Errand>()
  #aheadTokens = 0
  /** When an errand began or ended last: prompts are computed one after another. */
  #turnedMs = 0

  constructor(peer: PeerId, model: string) {
    this.peer = peer
    this.model = model
  }

  get aheadTokens(): number {
    return this.#aheadTokens
  }

  get waitsSinceMs(): number | undefined {
    for (const { sentMs } of this.#waiting) return sentMs
    return undefined
  }

  get computes(): Candidate["computes"] {
    for (const { computedTokens, sentMs } of this.#waiting)
      return { tokens: computedTokens, sinceMs: Math.max(sentMs, this.#turnedMs) }
    return undefined
  }

  covered(blocks: ReadonlyArray<number>): number {
    return blocks.length === 0 ? 0 : this.#sent.covered(blocks)
  }

  /** Takes over what the peer announced. */
  announced(info: PeerInfo): void {
    const description = PeerDirectory.descriptionOf(info, this.model)
    if (description === undefined) return
    this.slots = description.slots
    this.mode = description.stages === undefined ? "solo" : "split"
  }

  /** Takes over how it is now; `answers` are those that it says it gives and queues. */
  seen({ inFlight, lastElectedMs, rttMs }: Attachment, answers: number): void {
    this.inFlight = inFlight
    // A beat is up to a second old: of what it counts, as much is ours as we have there now.
    this.elsewhere = Math.min(PeerDirectory.slotsMax, Math.max(0, answers - inFlight))
    this.rttMs = rttMs
    this.lastChosenMs = lastElectedMs
  }

  /** An errand was sent, with a prompt of these blocks; returns the slot it has there, as far as can be told. */
  sent(errand: Errand, blocks: ReadonlyArray<number>, most: number): SentPrompt | undefined {
    this.#waiting.add(errand)
    this.#aheadTokens += errand.computedTokens
    return blocks.length === 0 ? undefined : this.#sent.hold(blocks, Math.min(this.slots, most, promptsMax))
  }

  /** An errand has begun or ended; later calls do nothing. */
  noLongerWaits(errand: Errand, nowMs: number): void {
    if (!this.#waiting.delete(errand)) return
    this.#aheadTokens -= errand.computedTokens
    this.#turnedMs = nowMs
  }
}
