/**
 * Who waits for a slot of one model, and whose turn is next. Pure: `Slots.ts` owns the current queue and knows which
 * slots are free. Callers take turns, so that one with a hundred requests does not hold up one with a single request.
 */

/** Represents a place in a queue; unique among those of one model. */
export type Ticket = number

/** Represents the queue of one model. */
export interface ModelQueue {
  /** Tickets by caller, oldest first; the caller whose turn is next stands first. */
  readonly waiting: ReadonlyMap<string, ReadonlyArray<Ticket>>
  readonly length: number
  /** Smoothed time that an answer holds its slot, in milliseconds; undefined until one has ended. */
  readonly holdMs: number | undefined
}

/** Represents what becomes of a request for which no slot is free. */
export type Entry =
  | { readonly _tag: "Waiting"; readonly queue: ModelQueue }
  | { readonly _tag: "Refused"; readonly retryAfterMs: number }

/** A queue that nobody stands in and that measured nothing. */
export const empty: ModelQueue = { waiting: new Map(), length: 0, holdMs: undefined }

/** Most requests that wait for one model: each holds its prompt in memory, up to some megabytes. */
export const lengthMax = 1_024

/** Longest expected wait: beyond it people reload, and clients do better with `retry-after`. */
export const waitMsMax = 10_000

/** Taken for the time an answer holds its slot while none was measured: a hundred tokens at 20 a second. */
const holdMsAssumed = 5_000

/** Weight of the newest answer in the smoothed time: the last dozen answers count. */
const newestWeight = 0.15

/** Returns how long a request that enters now is expected to wait, with `slots` slots serving the queue. */
export const expectedWaitMs = ({ holdMs, length }: ModelQueue, slots: number): number =>
  ((length + 1) * (holdMs ?? holdMsAssumed)) / Math.max(1, slots)

/** Puts a ticket at the end of its caller's line, or refuses it where the wait would be too long. */
export const enter = (queue: ModelQueue, ticket: Ticket, caller: string, slots: number): Entry => {
  const waitMs = expectedWaitMs(queue, slots)
  // One request may always wait: with a single slow slot the expected wait is never short.
  if (queue.length >= lengthMax || (queue.length > 0 && waitMs > waitMsMax)) {
    return { _tag: "Refused", retryAfterMs: Math.max(1_000, waitMs - waitMsMax / 2) }
  }
  const waiting = new Map(queue.waiting)
  waiting.set(caller, [...(waiting.get(caller) ?? []), ticket])
  return { _tag: "Waiting", queue: { ...queue, waiting, length: queue.length + 1 } }
}

/**
 * Takes the oldest ticket that `fits` of the first caller that has one; that caller goes to the end of the round.
 * Undefined where there is none.
 */
export const take = (
  queue: ModelQueue,
  fits: (ticket: Ticket) => boolean
): { readonly ticket: Ticket; readonly queue: ModelQueue } | undefined => {
  for (const [caller, tickets] of queue.waiting) {
    const ticket = tickets.find(fits)
    if (ticket === undefined) continue
    const rest = tickets.filter((other) => other !== ticket)
    const waiting = new Map(queue.waiting)
    waiting.delete(caller)
    if (rest.length > 0) waiting.set(caller, rest)
    return { ticket, queue: { ...queue, waiting, length: queue.length - 1 } }
  }
  return undefined
}

/** Removes a ticket whose client left; the same queue where it is not in it. */
export const abandon = (queue: ModelQueue, ticket: Ticket, caller: string): ModelQueue => {
  const tickets = queue.waiting.get(caller) ?? []
  const rest = tickets.filter((other) => other !== ticket)
  if (rest.length === tickets.length) return queue
  const waiting = new Map(queue.waiting)
  if (rest.length > 0) waiting.set(caller, rest)
  else waiting.delete(caller)
  return { ...queue, waiting, length: queue.length - 1 }
}

/** Notes that an answer held its slot for so long. */
export const held = (queue: ModelQueue, ms: number): ModelQueue => ({
  ...queue,
  holdMs: queue.holdMs === undefined ? ms : queue.holdMs + newestWeight * (ms - queue.holdMs)
})
