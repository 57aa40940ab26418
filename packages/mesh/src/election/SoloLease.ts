/**
 * Whose order a peer follows, and which orders it refuses. Pure: every step takes the lease and `now`; the peer's
 * `Solo.ts` owns the current one. A lease that ran out leaves the peer as it is, but open to any entry.
 */
import { Either } from "effect"
import type { PeerId } from "../PeerId.ts"
import type { Assignment, Order, RefusalReason, Standing } from "./ElectionProtocol.ts"

/** Represents an order that a peer follows. */
export interface Holder {
  readonly entry: PeerId
  readonly epoch: number
  readonly issuedAtMs: number
  /** On the peer's own clock; what was ordered stays as it is after it too. */
  readonly untilMs: number
  readonly assignments: ReadonlyArray<Assignment>
}

/** Represents a peer's word at one moment. */
export interface SoloLease {
  readonly holder: Holder | undefined
  readonly highestEpoch: number
}

/** Represents what a peer can do, by its own account. */
export interface Limits {
  readonly usableBytes: number
  /** What each of its candidates takes. */
  readonly needBytes: ReadonlyMap<string, number>
}

/** Nobody ordered anything yet. */
export const free: SoloLease = { holder: undefined, highestEpoch: 0 }

/** Returns the lease after an order, or why the peer goes on as it was. The same order again renews its lease. */
export const receive = (
  lease: SoloLease,
  entry: PeerId,
  order: Order,
  limits: Limits,
  now: number
): Either.Either<SoloLease, RefusalReason> => {
  const { highestEpoch, holder } = lease
  if (holder !== undefined && holder.entry !== entry && now < holder.untilMs) return Either.left("LeasedElsewhere")
  const isAgain = holder?.entry === entry && holder.epoch === order.epoch
  if (order.epoch < highestEpoch || (order.epoch === highestEpoch && !isAgain)) return Either.left("StaleEpoch")
  if (isAgain && !isSame(holder.assignments, order.assignments)) return Either.left("EpochReused")
  const vetoed = veto(order, limits)
  if (vetoed !== undefined) return Either.left(vetoed)
  const { assignments, epoch, issuedAtMs } = order
  // An order that was slow on its way does not shorten what a later one gave.
  const untilMs = Math.max(isAgain ? holder.untilMs : 0, now + order.leaseMs)
  const latest = Math.max(isAgain ? holder.issuedAtMs : 0, issuedAtMs)
  return Either.right({ highestEpoch: epoch, holder: { entry, epoch, issuedAtMs: latest, untilMs, assignments } })
}

/** Returns what the peer says of itself when it asks. */
export const standing = ({ highestEpoch, holder }: SoloLease, refused: Standing["refused"], now: number): Standing => ({
  lease:
    holder === undefined || now >= holder.untilMs
      ? null
      : {
          entry: holder.entry,
          epoch: holder.epoch,
          issuedAtMs: holder.issuedAtMs,
          leftMs: Math.min(60_000, holder.untilMs - now)
        },
  highestEpoch,
  refused
})

/** Returns the models that the order makes the peer serve. */
export const workersOf = (assignments: ReadonlyArray<Assignment>): ReadonlySet<string> =>
  new Set(assignments.flatMap(({ model, role }) => (role === "worker" ? [model] : [])))

/** Says to people why a peer refused. */
export const toText = (reason: RefusalReason): string => texts[reason]

// internal

const texts: Readonly<Record<RefusalReason, string>> = {
  StaleEpoch: "a later order is known; the entry will give a new one",
  EpochReused: "two orders of one epoch differ",
  LeasedElsewhere: "another entry's lease still lives; it ends by itself where that entry is gone",
  NotRequested: "it names a model that this peer does not offer, or one twice",
  Memory: "the models need more memory than the peer may use"
}

/** What the peer itself cannot or will not do, whoever orders it. */
const veto = ({ assignments }: Order, { needBytes, usableBytes }: Limits): RefusalReason | undefined => {
  const models = new Set(assignments.map(({ model }) => model))
  const workers = workersOf(assignments)
  if (models.size !== assignments.length || [...workers].some((model) => !needBytes.has(model))) return "NotRequested"
  const needed = [...workers].reduce((sum, model) => sum + (needBytes.get(model) ?? 0), 0)
  return needed > usableBytes ? "Memory" : undefined
}

const isSame = (one: ReadonlyArray<Assignment>, other: ReadonlyArray<Assignment>): boolean =>
  one.length === other.length &&
  one.every(({ model, role }) => other.some((second) => second.model === model && second.role === role))
