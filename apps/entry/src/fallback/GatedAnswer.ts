/**
 * One answer from whoever should give it: the gate's verdict first, then the mesh or the provider, and where the
 * provider fails before its first text the mesh after all. Tells one listener, and says at any time what the headers of
 * the response are.
 */
import { type GenerateEvent, type GenerateRequest, isLast } from "@weft/engine/Generation"
import type { PeerId } from "@weft/mesh/PeerId"
import type { AnswerListener, Asker, Inference, NoAnswer, Route } from "../Inference.ts"
import * as Gate from "../sla/Gate.ts"
import type { Judged, Sla } from "../sla/Sla.ts"
import * as SlaMetrics from "../sla/SlaMetrics.ts"
import type { FallbackStatus } from "./Decision.ts"
import type { Fallback } from "./Fallback.ts"
import * as FallbackMetrics from "./FallbackMetrics.ts"
import type { ProviderRequest } from "./Provider.ts"

/** Is told what becomes of the answer. */
export interface GatedListener extends AnswerListener {
  /** The provider failed behind its first text: nothing follows. */
  readonly broke: () => void
}

/** Represents who may be asked. */
export interface Sources {
  readonly inference: typeof Inference.Service
  readonly sla: typeof Sla.Service
  readonly fallback: typeof Fallback.Service
}

/** Represents what is asked, in the words of either. */
export interface GatedRequest {
  readonly request: GenerateRequest
  /** In whose name it is asked, and which peers may answer. */
  readonly asker: Pick<Asker, "caller" | "labels">
  readonly elsewhere: Omit<ProviderRequest, "model">
  /** Whether the request means the same elsewhere. */
  readonly isPortable: boolean
  /** Returns the address whose budget it takes from. */
  readonly client: () => string
}

/** Gives one answer; `begin` is called once. */
export class GatedAnswer implements AnswerListener {
  readonly #sources: Sources
  readonly #asked: GatedRequest
  readonly #listener: GatedListener
  #isOver = false
  /** True while `generate` runs: what it refuses now is looked at when it has returned. */
  #isAsking = false
  #refusal: NoAnswer | undefined
  #provider: "unasked" | "silent" | "talking" | "failed" = "unasked"
  #verdict: Judged
  #status: FallbackStatus = "not-needed"
  #servedBy: string = nobody
  #route: Route | typeof nobody = nobody
  #letGo: () => void = nothing

  constructor(sources: Sources, asked: GatedRequest, listener: GatedListener) {
    this.#sources = sources
    this.#asked = asked
    this.#listener = listener
    this.#verdict = sources.sla.verdict(asked.request.model)
  }

  /** True while it is open what the headers will say. */
  get isUndecided(): boolean {
    return this.#provider === "silent"
  }

  /** True where the mesh alone was asked: the time that a provider took is none of a peer's. */
  get isOfMeshAlone(): boolean {
    return this.#provider === "unasked"
  }

  /** What the response says of the gate, as far as it is known now. */
  get headers(): Readonly<Record<string, string>> {
    return {
      ...this.#verdict.headers,
      "x-weft-served-by": this.#servedBy,
      "x-weft-route": this.#route,
      "x-weft-fallback-status": this.#status
    }
  }

  begin(): void {
    const { client, elsewhere, isPortable, request } = this.#asked
    const choice = this.#sources.fallback.choose(this.#verdict, { model: request.model, isPortable, client })
    if (choice._tag === "Mesh") {
      this.#status = choice.status
      this.#askMesh()
      return
    }
    SlaMetrics.judged(this.#verdict)
    this.#provider = "silent"
    // until it talks: who gives up before is told the truth
    this.#status = "failed"
    const cancel = choice.ask(elsewhere, {
      events: (events) => this.#providerSaid(events),
      failed: () => this.#providerFailed()
    })
    if (this.#provider === "silent") this.#letGo = cancel
  }

  /** Takes the request back; nothing is told from then on. Idempotent. */
  cancel(): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#provider === "silent" || this.#provider === "talking") FallbackMetrics.ended("left")
    this.#letGo()
  }

  begun(servedBy: PeerId | "fallback", route: Route): void {
    this.#servedBy = servedBy
    this.#route = route
    this.#listener.begun(servedBy, route)
  }

  moved(): void {
    this.#listener.moved()
  }

  events(events: ReadonlyArray<GenerateEvent>): void {
    this.#listener.events(events)
  }

  refused(why: NoAnswer): void {
    if (this.#isAsking) this.#refusal = why
    else this.#listener.refused(why)
  }

  #askMesh(): void {
    const { asker, request } = this.#asked
    const meetsSla = Gate.keeps(this.#verdict.tier)
    this.#isAsking = true
    const cancel = this.#sources.inference.generate(request, { ...asker, meetsSla }, this)
    this.#isAsking = false
    const why = this.#refusal
    this.#refusal = undefined
    const isDeserted = why !== undefined && why.reason !== "Overloaded" && this.#verdict.candidates > 0
    if (isDeserted && this.#provider === "unasked") {
      // the peers went since the verdict
      this.#verdict = this.#sources.sla.withoutPeer(request.model)
      this.begin()
      return
    }
    if (this.#provider === "unasked") {
      SlaMetrics.judged(this.#verdict)
      if (this.#status !== "not-needed") FallbackMetrics.ended(this.#status)
    }
    if (why !== undefined) this.#listener.refused(why)
    else if (this.#isOver) cancel()
    else this.#letGo = cancel
  }

  #providerSaid(events: ReadonlyArray<GenerateEvent>): void {
    if (this.#isOver) return
    if (this.#provider === "silent") {
      this.#provider = "talking"
      this.#status = "served"
      this.begun("fallback", "fallback")
    }
    if (events.some(isLast)) {
      this.#isOver = true
      FallbackMetrics.ended("served")
    }
    this.#listener.events(events)
  }

  #providerFailed(): void {
    if (this.#isOver) return
    if (this.#provider === "talking") {
      this.#isOver = true
      FallbackMetrics.ended("broken")
      this.#listener.broke()
      return
    }
    this.#provider = "failed"
    FallbackMetrics.ended("failed")
    this.#askMesh()
  }
}

// internal

/** Stands in headers where nobody has begun to answer. */
const nobody = "none"

const nothing = (): void => undefined
