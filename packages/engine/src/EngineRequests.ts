/**
 * The open requests of one engine, from `generate` to the last event, whatever host serves them. The supervisor owns
 * it: requests come in, commands go out to the host that is up, the host's events come back and are checked, as a
 * host that ran a hostile file may say anything. Synchronous throughout; every request ends with one `Finished` or
 * `Failed`, or is closed.
 */
import type { AnswerListener, CancelAnswer } from "./Engine.ts"
import type { HostCommand, HostEvent } from "./EngineProtocol.ts"
import { type GenerateEvent, type GenerateFailure, type GenerateRequest, isLast } from "./Generation.ts"

/** Represents what a host reports of one turn. */
export type Turn = Extract<HostEvent, { readonly _tag: "Turn" }>

/** Represents the bounds of the requests of one engine. */
export interface EngineRequestsLimits {
  readonly slots: number
  readonly queuedMax: number
  readonly contextTokens: number
}

/** Represents how many requests run and wait; their sum is at most `slots + queuedMax`. */
export interface RequestCounts {
  readonly active: number
  readonly queued: number
}

/** Represents what the supervisor is told, e.g. for counters. */
export interface EngineRequestsHandlers {
  readonly onCounts: (counts: RequestCounts) => void
  readonly onTokens: (kind: "prompt" | "completion", count: number) => void
}

/** Represents the open requests of one engine. */
export interface EngineRequests {
  readonly counts: () => RequestCounts
  /** Requests the present host works on. */
  readonly sent: () => number
  /** Takes a request in, or fails it at once; returns the key to close it by. */
  readonly open: (request: GenerateRequest, listen: AnswerListener) => number
  /** Tells the host that nobody listens any more; nothing happens where the request has ended. */
  readonly close: (key: number) => void
  /** A host is up: it gets every request that waited for one, and those to come. */
  readonly attach: (send: (command: HostCommand) => boolean) => void
  /** The host is gone: what it worked on fails with `engine_lost`, what it never saw waits for the next. */
  readonly detach: () => void
  /** No host came up: what waits for one fails with `engine_lost`, so that no wait is longer than one start. */
  readonly abandon: () => void
  /** Passes a turn's events on; returns what the host may not say, if it said so. */
  readonly apply: (turn: Turn) => string | undefined
  /** Fails everything that is open and everything that comes. */
  readonly stop: (failure: GenerateFailure) => void
}

/** Returns an engine's requests, none open and no host up. */
export const make = (limits: EngineRequestsLimits, handlers: EngineRequestsHandlers): EngineRequests =>
  new Requests(limits, handlers)

/** Asks for one answer; returns what cancels it. */
export const ask = (requests: EngineRequests, request: GenerateRequest, listen: AnswerListener): CancelAnswer => {
  const key = requests.open(request, listen)
  return () => requests.close(key)
}

/** Returns the failure of a request for another model. */
export const modelNotFound = ({ model }: GenerateRequest): GenerateFailure => ({
  code: "model_not_found",
  message: `This engine does not hold the model ${model}.`,
  param: "model"
})

/** The failure of requests whose engine ends with its owner. */
export const shuttingDown: GenerateFailure = {
  code: "shutting_down",
  message: "This engine is shutting down. Send the request again to reach another one."
}

// internal

interface OpenRequest {
  readonly request: GenerateRequest
  readonly listen: AnswerListener
  /** The present host has it. */
  sent: boolean
  /** It holds a slot there. */
  running: boolean
  /** Nobody listens; it stays open until the host says that it let go. */
  closed: boolean
  deltas: number
  tokens: number
  /** Its events of the turn that is being applied. */
  events: Array<GenerateEvent>
}

class Requests implements EngineRequests {
  readonly #open = new Map<number, OpenRequest>()
  #keyNext = 0
  #active = 0
  #send: ((command: HostCommand) => boolean) | undefined
  #stopped: GenerateFailure | undefined

  constructor(
    private readonly limits: EngineRequestsLimits,
    private readonly handlers: EngineRequestsHandlers
  ) {}

  counts(): RequestCounts {
    return { active: this.#active, queued: this.#open.size - this.#active }
  }

  sent(): number {
    return this.#open.values().reduce((sum, { sent }) => sum + (sent ? 1 : 0), 0)
  }

  open(request: GenerateRequest, listen: AnswerListener): number {
    const key = this.#keyNext++
    const failure = this.#refusal()
    if (failure !== undefined) {
      listen([{ _tag: "Failed", failure }])
      return key
    }
    const entry = { request, listen, sent: false, running: false, closed: false, deltas: 0, tokens: 0, events: [] }
    this.#open.set(key, entry)
    this.handlers.onCounts(this.counts())
    this.#deliver(key, entry)
    return key
  }

  close(key: number): void {
    const entry = this.#open.get(key)
    if (entry === undefined || entry.closed) return
    entry.closed = true
    if (entry.sent) this.#send?.({ _tag: "Cancel", key })
    else this.#finish(key, entry)
  }

  attach(send: (command: HostCommand) => boolean): void {
    this.#send = send
    for (const [key, entry] of [...this.#open]) this.#deliver(key, entry)
  }

  detach(): void {
    this.#send = undefined
    for (const [key, entry] of [...this.#open]) {
      if (entry.sent) this.#finish(key, entry, { _tag: "Failed", failure: engineLost })
    }
  }

  abandon(): void {
    for (const [key, entry] of [...this.#open]) this.#finish(key, entry, { _tag: "Failed", failure: engineLost })
  }

  apply({ cancelled, events }: Turn): string | undefined {
    for (const key of cancelled) {
      const entry = this.#open.get(key)
      // The last event and the cancellation may cross.
      if (entry === undefined) continue
      if (!entry.closed) return `answer ${key} was cancelled without being asked to`
      this.#finish(key, entry)
    }
    const touched: Array<OpenRequest> = []
    for (const [key, event] of events) {
      const entry = this.#open.get(key)
      if (entry === undefined || !entry.sent) return `an event of answer ${key}, which was not asked for`
      const wrong = this.#account(key, entry, event)
      if (wrong !== undefined) return wrong
      if (isLast(event)) this.#forget(key, entry)
      if (entry.events.push(event) === 1) touched.push(entry)
    }
    // Told when all is accounted for: a listener may open or close answers.
    for (const entry of touched) tell(entry)
    return undefined
  }

  stop(failure: GenerateFailure): void {
    this.#stopped = failure
    this.#send = undefined
    for (const [key, entry] of [...this.#open]) this.#finish(key, entry, { _tag: "Failed", failure })
  }

  #refusal(): GenerateFailure | undefined {
    if (this.#stopped !== undefined) return this.#stopped
    return this.#open.size < this.limits.slots + this.limits.queuedMax ? undefined : overloaded(this.limits)
  }

  #deliver(key: number, entry: OpenRequest): void {
    if (this.#send === undefined) return
    entry.sent = this.#send({ _tag: "Generate", key, request: sendable(entry.request) })
    if (!entry.sent) this.#finish(key, entry, { _tag: "Failed", failure: tooLarge })
  }

  #finish(key: number, entry: OpenRequest, last?: GenerateEvent): void {
    this.#forget(key, entry)
    if (last !== undefined) entry.events.push(last)
    tell(entry)
  }

  #forget(key: number, entry: OpenRequest): void {
    this.#open.delete(key)
    if (entry.running) this.#active--
    this.handlers.onCounts(this.counts())
  }

  /** Takes one event into account; returns what is wrong with it. */
  #account(key: number, entry: OpenRequest, event: GenerateEvent): string | undefined {
    if (event._tag === "Failed") return undefined
    if (event._tag === "Started") {
      if (entry.running || this.#active >= this.limits.slots) return "more answers started than there are slots"
      entry.running = true
      this.#active++
      this.handlers.onCounts(this.counts())
      this.handlers.onTokens("prompt", event.promptTokens)
      return undefined
    }
    if (!entry.running) return `${event._tag} of answer ${key} before its start`
    if (event._tag === "Finished") return undefined
    entry.deltas++
    entry.tokens += event.tokens.length
    this.handlers.onTokens("completion", event.tokens.length)
    // Two deltas have no token: the one with text owed from elsewhere, and the one with text that was held back.
    const steps = Math.max(entry.tokens, entry.deltas - 2)
    return steps > this.limits.contextTokens ? `answer ${key} exceeds its context` : undefined
  }
}

/** Returns the request without fields that are there but undefined: frames have no such value. */
const sendable = (request: GenerateRequest): GenerateRequest => ({
  ...defined(request),
  sampling: defined(request.sampling)
})

const defined = <A extends object>(value: A): A =>
  // Leaving out undefined fields of A gives an A, as none of its required fields can be undefined.
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as A

const engineLost: GenerateFailure = {
  code: "engine_lost",
  message: "The engine that worked on this request was lost; it is being started again. Send the request again."
}

const tooLarge: GenerateFailure = {
  code: "invalid_request",
  message: "The prompt is too large to be passed to the engine. Send a shorter one.",
  param: "prompt"
}

const overloaded = ({ queuedMax, slots }: EngineRequestsLimits): GenerateFailure => ({
  code: "overloaded",
  message: `All ${slots} slots are taken and ${queuedMax} requests wait. Try again later.`
})

/** Tells who listens the events that were kept for it. */
const tell = (entry: OpenRequest): void => {
  const { events } = entry
  entry.events = []
  if (!entry.closed && events.length > 0) entry.listen(events)
}
