/**
 * What actors count. Every series is labelled with the actor's kind, never with an id; all stand in the global
 * registry.
 */
import { Effect, type Scope } from "effect"
import { Counter, Gauge, Histogram } from "prom-client"

interface LiveMailbox {
  readonly kind: string
  readonly size: () => number
}

const liveMailboxes = new Set<LiveMailbox>()

/**
 * Counts turns that wait now, summed over the live actors of a kind; the running turn is not among them. Read when
 * scraped.
 */
export const mailboxDepth = new Gauge({
  name: "weft_actor_mailbox_depth",
  help: "Turns that wait in the mailboxes of this kind of actor, the running ones left out.",
  labelNames: ["actor"],
  collect() {
    this.reset()
    for (const mailbox of liveMailboxes) this.inc({ actor: mailbox.kind }, mailbox.size())
  }
})

/** Counts lives begun after the first: own crashes and restarts with siblings alike; a first start is not counted. */
export const restarts = new Counter({
  name: "weft_actor_restarts_total",
  help: "Times an actor of this kind was started again.",
  labelNames: ["actor"]
})

/** Counts messages refused with MailboxFull; those refused by a stopped actor are not counted. */
export const rejected = new Counter({
  name: "weft_actor_rejected_total",
  help: "Messages refused because the mailbox of an actor of this kind was full.",
  labelNames: ["actor"]
})

/**
 * Measures turns from grant to end, crashed and cancelled ones too; a stream counts until it is open, an answer given
 * later until the turn ended. Its count is the number of turns that ran.
 */
export const turnDuration = new Histogram({
  name: "weft_actor_turn_duration_seconds",
  help: "Time one turn held the actor of this kind.",
  labelNames: ["actor"],
  // From an in-memory turn (tens of microseconds) to the shutdown bound of 5 s, where a turn is cut.
  buckets: [0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5]
})

/** Represents the metrics of one kind with the label already applied, for the hot path. */
export interface KindMetrics {
  readonly restarted: () => void
  readonly rejected: () => void
  readonly turnEnded: (seconds: number) => void
}

/** Returns the metrics of one kind; its counters exist at 0 from here on. */
export const forKind = (kind: string): KindMetrics => {
  const restartsOfKind = restarts.labels(kind)
  const rejectedOfKind = rejected.labels(kind)
  const durationOfKind = turnDuration.labels(kind)
  restartsOfKind.inc(0)
  rejectedOfKind.inc(0)
  return {
    restarted: () => restartsOfKind.inc(),
    rejected: () => rejectedOfKind.inc(),
    turnEnded: (seconds) => durationOfKind.observe(seconds)
  }
}

/** Adds a mailbox to the depth of its kind until the scope closes. */
export const watchMailbox = (kind: string, size: () => number): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const mailbox: LiveMailbox = { kind, size }
      liveMailboxes.add(mailbox)
      return mailbox
    }),
    (mailbox) => Effect.sync(() => liveMailboxes.delete(mailbox))
  )
