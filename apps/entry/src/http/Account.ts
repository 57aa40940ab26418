/** What one answer used, from its request's arrival to its end: feeds the metrics, the caller's quota and the log. */
import type { GenerateEvent, Usage } from "@weft/engine/Generation"
import type { PeerId } from "@weft/mesh/PeerId"
import type { Clock } from "effect"
import type { Grant } from "../Admission.ts"
import * as EntryMetrics from "../EntryMetrics.ts"
import type { Performance } from "../performance/Performance.ts"
import type { Mode, Served } from "../performance/PerformanceState.ts"
import * as AnswerSample from "./AnswerSample.ts"
import type { RequestInfo } from "./CurrentRequest.ts"
import type { DoorLog } from "./DoorLog.ts"

/** Represents what an account is opened for. */
export interface AccountOptions {
  readonly request: RequestInfo
  /** `other` where nobody serves what was asked for. */
  readonly model: string
  /** Name of the key it is for. */
  readonly caller: string
  readonly grant: Grant
  readonly clock: Clock.Clock
  readonly log: DoorLog
  /** Is told the sample of an answer that one peer gave whole. */
  readonly performance: Pick<typeof Performance.Service, "record">
}

/** Represents the account of one answer of a request that was let in. */
export class Account {
  readonly #options: AccountOptions
  readonly #labels: { readonly model: string }
  #promptTokens = 0
  #completionTokens = 0
  #firstNanos: bigint | undefined
  #lastNanos: bigint | undefined
  #tokensAfterFirst = 0
  #usage: Usage | undefined
  /** There while one peer is all who answers. */
  #served: Served | undefined
  #isOpen = true

  constructor(options: AccountOptions) {
    this.#options = options
    this.#labels = { model: options.model }
    EntryMetrics.requestsInFlight.inc(this.#labels)
  }

  /** Notes which peer answers, and how. */
  begun(peer: PeerId, mode: Mode): void {
    this.#served = { peer, model: this.model, mode }
  }

  /** Notes that more than one peer had to do with the answer: it tells how fast the mesh is, and no peer. */
  moved(): void {
    this.#served = undefined
  }

  /** Notes a batch of events that came at once. */
  note(events: ReadonlyArray<GenerateEvent>): void {
    let count = 0
    let hasText = false
    for (const event of events) {
      if (event._tag === "Started") this.#promptTokens = event.promptTokens
      else if (event._tag === "Finished") this.#usage = event.usage
      else if (event._tag === "Delta") {
        count += event.tokens.length
        hasText ||= event.text !== ""
      }
    }
    this.#completionTokens += count
    if (hasText) this.#noteTokens(count)
  }

  /** What it is counted by. */
  get model(): string {
    return this.#options.model
  }

  /** Closes the account with the status the client saw, once; returns the tokens of the answer. */
  close(status: number): number {
    if (!this.#isOpen) return 0
    this.#isOpen = false
    const { caller, grant, log, model, request } = this.#options
    const { completionTokens, promptTokens } = this.#usage ?? {
      promptTokens: this.#promptTokens,
      completionTokens: this.#completionTokens
    }
    EntryMetrics.requestsInFlight.dec(this.#labels)
    EntryMetrics.requests.inc({ model, code: String(status) })
    EntryMetrics.requestDuration.observe(this.#labels, this.#secondsSinceStart())
    EntryMetrics.tokens.inc({ model, kind: "prompt" }, promptTokens)
    EntryMetrics.tokens.inc({ model, kind: "completion" }, completionTokens)
    grant.settle(promptTokens + completionTokens)
    const sample = this.#sample(status)
    const isRecorded = typeof sample !== "string"
    EntryMetrics.samples.inc({ model, result: isRecorded ? "recorded" : sample })
    if (isRecorded && this.#served !== undefined) this.#options.performance.record(this.#served, sample)
    if (isRecorded && sample.tokensPerSecond !== undefined) {
      EntryMetrics.tokensPerSecond.observe(this.#labels, sample.tokensPerSecond)
    }
    // What was recorded is in the metrics; why something was not stands nowhere else.
    if (isRecorded && !log.keepsDebug) return completionTokens
    const clientRequest = request.clientRequestId ?? ""
    const tokens = { promptTokens, completionTokens }
    const said = { request: request.id, clientRequest, caller, model, status, ...tokens }
    if (isRecorded) log.debug("answer ended, its sample is recorded", { ...said, ...sample })
    else log.info("answer ended, no sample is recorded", { ...said, why: sample })
    return completionTokens
  }

  /** The time to the first text counts as soon as that came; the sample is the same figure at the end. */
  #sample(status: number): AnswerSample.AnswerSample | AnswerSample.NoSample {
    const { clock, request } = this.#options
    const nowNanos = clock.unsafeCurrentTimeNanos()
    const nowMs = clock.unsafeCurrentTimeMillis()
    const msOf = (nanos: bigint | undefined) =>
      nanos === undefined ? undefined : nowMs - Number(nowNanos - nanos) / 1e6
    return AnswerSample.sampleOf({
      status,
      usageTokens: this.#usage?.completionTokens,
      startedMs: request.startedMs,
      firstMs: msOf(this.#firstNanos),
      lastMs: msOf(this.#lastNanos),
      tokensAfterFirst: this.#tokensAfterFirst
    })
  }

  #noteTokens(count: number): void {
    const now = this.#options.clock.unsafeCurrentTimeNanos()
    if (this.#lastNanos === undefined) {
      this.#firstNanos = now
      EntryMetrics.timeToFirstToken.observe(this.#labels, this.#secondsSinceStart())
    } else {
      const seconds = Number(now - this.#lastNanos) / 1e9
      EntryMetrics.interTokenLatency.observe(this.#labels.model, seconds / Math.max(1, count))
      this.#tokensAfterFirst += count
    }
    this.#lastNanos = now
  }

  #secondsSinceStart(): number {
    return Math.max(0, this.#options.clock.unsafeCurrentTimeMillis() - this.#options.request.startedMs) / 1000
  }
}
