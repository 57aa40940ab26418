/**
 * The open requests of one engine, from `generate` to the last event, whatever host serves them. The supervisor owns it:
 * requests come in, commands go out to the host that is up, the host's events come back and are checked, as a host that ran
 * a hostile file may say anything. Synchronous throughout; every request ends with one `Finished` or `Failed`, or is closed.
 */
import { Exit, type Mailbox } from "effect"
import type { HostCommand, HostEvent } from "./EngineProtocol.ts"
import type { GenerateEvent, GenerateFailure, GenerateRequest } from "./Generation.ts"

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
  /** Takes a request in, or fails it in its mailbox; returns the key to close it by. */
  readonly open: (request: GenerateRequest, mailbox: Mailbox.Mailbox<GenerateEvent>) => number
  /** Tells the host that nobody listens any more; nothing happens where the request has ended. */
  readonly close: (key: number) => void
  /** A host is up: it gets every request that waited for one, and those to come. */
  readonly attach: (send: (command: HostCommand) => boolean) => void
  /** The host is gone: what it worked on fails with `engine_lost`, what it never saw waits for the next. */
  readonly detach: () => void
  /** Passes a turn's events on; returns what the host may not say, if it said so. */
  readonly apply: (turn: Extract<HostEvent, { readonly _tag: "Turn" }>) => string | undefined
  /** Fails everything that is open and everything that comes. */
  readonly stop: (failure: GenerateFailure) => void
}

interface OpenRequest {
  readonly request: GenerateRequest
  readonly mailbox: Mailbox.Mailbox<GenerateEvent>
  /** The present host has it. */
  sent: boolean
  /** It holds a slot there. */
  running: boolean
  /** Nobody listens; it stays open until the host says that it let go. */
  closed: boolean
  deltas: number
  tokens: number
}

/** Returns an engine's requests, none open and no host up. */
export const make = (limits: EngineRequestsLimits, handlers: EngineRequestsHandlers): EngineRequests => {
  const open = new Map<number, OpenRequest>()
  let keyNext = 0
  let active = 0
  let send: ((command: HostCommand) => boolean) | undefined
  let stopped: GenerateFailure | undefined

  const counts = (): RequestCounts => ({ active, queued: open.size - active })

  const finish = (key: number, entry: OpenRequest, last?: GenerateEvent): void => {
    open.delete(key)
    if (entry.running) active--
    end(entry.mailbox, last)
    handlers.onCounts(counts())
  }

  const refusal = (): GenerateFailure | undefined => {
    if (stopped !== undefined) return stopped
    return open.size < limits.slots + limits.queuedMax ? undefined : overloaded(limits)
  }

  const deliver = (key: number, entry: OpenRequest): void => {
    if (send === undefined) return
    entry.sent = send({ _tag: "Generate", key, request: entry.request })
    if (!entry.sent) finish(key, entry, { _tag: "Failed", failure: tooLarge })
  }

  /** Takes one event into account; returns what is wrong with it. */
  const account = (key: number, entry: OpenRequest, event: GenerateEvent): string | undefined => {
    if (event._tag === "Failed") return undefined
    if (event._tag === "Started") {
      if (entry.running || active >= limits.slots) return "more answers started than there are slots"
      entry.running = true
      active++
      handlers.onCounts(counts())
      handlers.onTokens("prompt", event.promptTokens)
      return undefined
    }
    if (!entry.running) return `${event._tag} of answer ${key} before its start`
    if (event._tag === "Finished") return undefined
    entry.deltas++
    entry.tokens += event.tokens.length
    handlers.onTokens("completion", event.tokens.length)
    // One delta has no token: the one with the text that was held back.
    if (Math.max(entry.tokens, entry.deltas - 1) > limits.contextTokens) return `answer ${key} exceeds its context`
    return undefined
  }

  const applyEvent = (key: number, event: GenerateEvent): string | undefined => {
    const entry = open.get(key)
    if (entry === undefined || !entry.sent) return `an event of answer ${key}, which was not asked for`
    const wrong = account(key, entry, event)
    if (wrong !== undefined) return wrong
    if (event._tag === "Finished" || event._tag === "Failed") finish(key, entry, event)
    else if (!entry.closed) entry.mailbox.unsafeOffer(event)
    return undefined
  }

  const releaseCancelled = (key: number): string | undefined => {
    const entry = open.get(key)
    // The last event and the cancellation may cross.
    if (entry === undefined) return undefined
    if (!entry.closed) return `answer ${key} was cancelled without being asked to`
    finish(key, entry)
    return undefined
  }

  return {
    counts,
    sent: () => open.values().reduce((sum, { sent }) => sum + (sent ? 1 : 0), 0),
    open: (request, mailbox) => {
      const key = keyNext++
      const failure = refusal()
      if (failure !== undefined) {
        end(mailbox, { _tag: "Failed", failure })
        return key
      }
      const entry = { request, mailbox, sent: false, running: false, closed: false, deltas: 0, tokens: 0 }
      open.set(key, entry)
      handlers.onCounts(counts())
      deliver(key, entry)
      return key
    },
    close: (key) => {
      const entry = open.get(key)
      if (entry === undefined || entry.closed) return
      if (!entry.sent) return finish(key, entry)
      entry.closed = true
      end(entry.mailbox)
      send?.({ _tag: "Cancel", key })
    },
    attach: (sendNext) => {
      send = sendNext
      for (const [key, entry] of [...open]) deliver(key, entry)
    },
    detach: () => {
      send = undefined
      for (const [key, entry] of [...open]) {
        if (entry.sent) finish(key, entry, { _tag: "Failed", failure: engineLost })
      }
    },
    apply: ({ cancelled, events }) => {
      for (const [key, event] of events) {
        const wrong = applyEvent(key, event)
        if (wrong !== undefined) return wrong
      }
      for (const key of cancelled) {
        const wrong = releaseCancelled(key)
        if (wrong !== undefined) return wrong
      }
      return undefined
    },
    stop: (failure) => {
      stopped = failure
      send = undefined
      for (const [key, entry] of [...open]) finish(key, entry, { _tag: "Failed", failure })
    }
  }
}

// internal

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

/** Ends a mailbox that may be ended already, as a closed request's is. */
const end = (mailbox: Mailbox.Mailbox<GenerateEvent>, last?: GenerateEvent): void => {
  if (last !== undefined) mailbox.unsafeOffer(last)
  mailbox.unsafeDone(Exit.void)
}
