/**
 * What has reached the client of one answer, and what may follow when its peer fails: the next peer is given the tokens
 * and goes on. No clock, no socket: `MeshInference.ts` feeds it events and carries out what it says.
 */
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import type { PeerId } from "@weft/mesh/PeerId"

/** Represents the bounds of one answer's wanderings. */
export interface FailoverLimits {
  /** Peers asked before the answer has begun; the client notices nothing of these. */
  readonly triesMax: number
  /** Times an answer that has begun may go on elsewhere. */
  readonly failoversMax: number
}

/** Represents the end of one peer's part. */
export type PartEnd = Extract<GenerateEvent, { readonly _tag: "Finished" | "Failed" }>

/** Represents what follows the end of a part. */
export type Verdict =
  /** The client gets this as the last event. */
  | { readonly _tag: "Over"; readonly last: PartEnd }
  /** Another peer is asked for `request`; the client gets `last` where there is none. */
  | { readonly _tag: "Again"; readonly last: PartEnd }

/** Represents one answer on its way through one or more peers. */
export class Failover {
  readonly #request: GenerateRequest
  readonly #limits: FailoverLimits
  readonly #tokens: Array<number> = []
  #textLength = 0
  #seed: number | undefined
  #failovers = 0
  readonly #tried = new Set<PeerId>()
  #again: "retry" | "failover" | undefined

  constructor(request: GenerateRequest, limits: FailoverLimits) {
    this.#request = request
    this.#limits = limits
  }

  /** Peers that failed this answer; whoever elects leaves them out. */
  get tried(): ReadonlySet<PeerId> {
    return this.#tried
  }

  /** True from the first event that a peer gave. */
  get hasBegun(): boolean {
    return this.#seed !== undefined
  }

  /** What the next peer is asked: once the answer has begun, with what the client has and the seed that was drawn. */
  get request(): GenerateRequest {
    if (this.#seed === undefined) return this.#request
    return {
      ...this.#request,
      sampling: { ...this.#request.sampling, seed: this.#seed },
      resume: { tokens: [...this.#tokens], textLength: this.#textLength }
    }
  }

  /** Notes that `peer` is asked; returns what it is asked after, undefined for the first one. */
  asked(peer: PeerId): "retry" | "failover" | undefined {
    this.#tried.add(peer)
    const after = this.#again
    this.#again = undefined
    return after
  }

  /** Lets the peers that failed be asked again: they may have healed, and nobody else is there. */
  forgive(): void {
    this.#tried.clear()
  }

  /** Notes an event; returns whether the client gets it. The start of a resumed part is none of its business. */
  passes(event: Exclude<GenerateEvent, PartEnd>): boolean {
    if (event._tag === "Started") {
      if (this.#seed !== undefined) return false
      this.#seed = event.seed
      return true
    }
    for (const token of event.tokens) this.#tokens.push(token)
    this.#textLength += event.text.length
    return true
  }

  /** Decides what follows the end of a part. */
  ended(last: PartEnd): Verdict {
    if (last._tag === "Finished" || isRequestAtFault(last)) return { _tag: "Over", last }
    if (this.hasBegun) {
      if (this.#failovers >= this.#limits.failoversMax) return { _tag: "Over", last }
      this.#failovers++
      this.#again = "failover"
    } else {
      if (this.#tried.size >= this.#limits.triesMax) return { _tag: "Over", last }
      this.#again = "retry"
    }
    return { _tag: "Again", last }
  }
}

// internal

/** Every peer would refuse it in the same way. */
const isRequestAtFault = ({ failure }: Extract<PartEnd, { readonly _tag: "Failed" }>): boolean =>
  failure.code === "context_length_exceeded" || failure.code === "invalid_request"
