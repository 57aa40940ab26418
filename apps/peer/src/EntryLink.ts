/**
 * The peer's link to its entry, kept up for as long as the peer runs: find the entry, dial, prove who we are, register,
 * send heartbeats, and hand over the streams that the entry opens. When it is lost it is made again, with backoff.
 */
import type { HttpClient } from "@effect/platform"
import * as Announcement from "@weft/mesh/Announcement"
import * as ControlPlane from "@weft/mesh/ControlPlane"
import type { EntryDescription } from "@weft/mesh/EntryDescription"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { type PeerInfo, type PeerLoad, stageOffersMax } from "@weft/mesh/PeerInfo"
import type { Transport } from "@weft/mesh/Transport"
import { Cause, Clock, Context, Effect, Layer, Option, Ref, Schedule } from "effect"
import { Answers } from "./Answers.ts"
import { Engines } from "./Engines.ts"
import * as EntryDiscovery from "./EntryDiscovery.ts"
import { Solo } from "./election/Solo.ts"
import * as Heartbeats from "./Heartbeats.ts"
import * as PeerMetrics from "./PeerMetrics.ts"
import { Splits } from "./Splits.ts"

/** Represents the link while it is up. */
export interface Registered {
  readonly description: EntryDescription
  readonly link: Link.Link
  readonly control: Effect.Effect.Success<ReturnType<typeof ControlPlane.client>>
}

/** Represents what a peer says of itself that stays; models and offers are added when it registers. */
export type Self = Omit<PeerInfo, "models" | "solo" | "stages">

/** Represents what a peer says and to whom. */
export interface EntryLinkOptions {
  readonly url: string
  readonly info: Self
  /** Called each time the entry has taken the registration. */
  readonly onRegistered: (registered: Registered) => Effect.Effect<void>
  /** Called each time a try or a link failed, with why. */
  readonly onLost: (why: string) => Effect.Effect<void>
}

/** The link to the entry. */
export class EntryLink extends Context.Tag("@weft/peer/EntryLink")<
  EntryLink,
  {
    readonly current: Effect.Effect<Option.Option<Registered>>
    /** Tells the entry at once that nothing new is taken, finishes the running answers within the bound, and leaves. */
    readonly leave: Effect.Effect<void>
  }
>() {
  static readonly layer = (
    options: EntryLinkOptions
  ): Layer.Layer<EntryLink, never, Answers | Engines | Solo | Splits | Identity | Transport | HttpClient.HttpClient> =>
    Layer.scoped(EntryLink, make(options))
}

/** Longest wait for running answers when the peer stops; systemd's default patience is 90 s, people's is less. */
const drainDeadline = "15 seconds"
/** Longest wait for the entry's answer to a control message. */
const controlDeadline = "5 seconds"
/** How often the entry is asked which models to serve; a lost worker is replaced within this and the load. */
const electEvery = "1 second"
/** Longest goodbye; the entry notices a silent leave in under 2 s anyway. */
const leaveDeadline = "1 second"

/**
 * Tries again soon after the first loss, at most every 10 s in a long one; jitter keeps a thousand peers of a restarted
 * entry from coming in step.
 */
const backoff = Schedule.exponential("200 millis").pipe(
  Schedule.union(Schedule.spaced("10 seconds")),
  Schedule.jittered,
  Schedule.resetAfter("30 seconds")
)

// internal

const make = Effect.fnUntraced(function* (options: EntryLinkOptions) {
  const answers = yield* Answers
  const current = yield* Ref.make(Option.none<Registered>())

  const connected = Effect.scoped(stayRegistered(options, current)).pipe(
    Effect.sandbox,
    Effect.tapError((cause) => {
      PeerMetrics.links.inc({ result: "lost" })
      return options.onLost(describe(cause))
    }),
    Effect.retry(backoff)
  )
  yield* Effect.forkScoped(connected)

  const leave = Effect.gen(function* () {
    const drained = yield* Effect.fork(Effect.timeoutOption(answers.drain, drainDeadline))
    yield* tell(current, beat.now)
    yield* drained.await
    yield* tell(current, ({ control, link }) =>
      Effect.zipRight(control.Leave(), link.session.close(Link.CloseCode.leaving, "the peer stops"))
    )
  })
  const beat = yield* makeHeartbeat
  return { current: Ref.get(current), leave }
})

/** Says one thing to the entry where the link is up; a farewell that fails is no loss. */
const tell = <E, R>(
  current: Ref.Ref<Option.Option<Registered>>,
  say: (registered: Registered) => Effect.Effect<unknown, E, R>
) =>
  Effect.flatMap(
    Ref.get(current),
    Option.match({
      onNone: () => Effect.void,
      onSome: (registered) => Effect.ignore(Effect.timeout(say(registered), leaveDeadline))
    })
  )

const makeHeartbeat = Effect.gen(function* () {
  const answers = yield* Answers
  const engines = yield* Engines
  const load = Effect.map(
    engines.loads,
    (models): PeerLoad => ({ state: answers.isDraining() ? "draining" : "ready", models })
  )
  const say = ({ control }: Pick<Registered, "control">, load: PeerLoad) =>
    Effect.timeout(control.Heartbeat({ load }), controlDeadline)
  return {
    now: (registered: Pick<Registered, "control">) => Effect.flatMap(load, (load) => say(registered, load)),
    /** Speaks where it is due; to be run again and again. */
    whenDue: (registered: Pick<Registered, "control">) => {
      let heartbeats: Heartbeats.Heartbeats
      return Effect.flatMap(load, (load) => {
        const [isSaid, next] = Heartbeats.look(heartbeats, load)
        heartbeats = next
        return isSaid ? say(registered, load) : Effect.void
      })
    }
  }
})

/** One life of the link; always ends in a failure that says why. */
const stayRegistered = Effect.fnUntraced(function* (
  options: EntryLinkOptions,
  current: Ref.Ref<Option.Option<Registered>>
) {
  const answers = yield* Answers
  const beat = yield* makeHeartbeat
  const { description } = yield* EntryDiscovery.discover(options.url)
  const link = yield* dial(options.url, description)
  const splits = yield* Splits
  splits.trust(link.peer)
  const control = yield* ControlPlane.client(link)
  const register = yield* makeRegister(options.info, description, control)
  const heartbeatEveryMs = yield* register
  const registered = { description, link, control }
  yield* Effect.acquireRelease(Ref.set(current, Option.some(registered)), () => Ref.set(current, Option.none()))
  yield* Effect.acquireRelease(
    Effect.sync(() => PeerMetrics.registered.set(1)),
    () => Effect.sync(() => PeerMetrics.registered.set(0))
  )
  PeerMetrics.links.inc({ result: "registered" })
  yield* options.onRegistered(registered)

  const heartbeats = beat
    .whenDue(registered)
    .pipe(Effect.repeat(Schedule.spaced(heartbeatEveryMs)), Effect.zipRight(Effect.never))
  const streams = Link.serve(link, ({ kind, stream }) => {
    if (kind === "split") return splits.serve(stream)
    return kind === "generate" ? answers.serve(stream) : stream.unsafeReset(Link.ResetCode.unknownKind)
  })
  const engines = yield* Engines
  const changed = Effect.raceFirst(engines.changed, splits.offersChanged)
  // A registration says nothing of the load, so that is said behind it.
  const changes = Effect.forever(changed.pipe(Effect.zipRight(register), Effect.zipRight(beat.now(registered))))
  const elections = yield* makeElections(description, control)
  const said = Effect.raceFirst(Effect.raceFirst(heartbeats, changes), elections)
  return yield* Effect.raceFirst(said, Effect.flatMap(streams, Effect.fail))
})

/** Returns the effect that asks for orders and follows them; where there is nothing to elect it only waits. */
const makeElections = Effect.fnUntraced(function* ({ peerId }: EntryDescription, control: Registered["control"]) {
  const solo = yield* Solo
  if ((yield* solo.offer) === undefined) return Effect.never
  return Effect.gen(function* () {
    const standing = yield* solo.standing
    const order = yield* Effect.timeout(control.Elect({ standing }), controlDeadline)
    if (order !== null) yield* solo.receive(peerId, order)
  }).pipe(Effect.repeat(Schedule.spaced(electEvery)), Effect.zipRight(Effect.never))
})

/** Returns the effect that says what this peer is now, and answers how often a heartbeat is wanted. */
const makeRegister = Effect.fnUntraced(function* (
  self: Self,
  { peerId: audience }: EntryDescription,
  control: Registered["control"]
) {
  const identity = yield* Identity
  const engines = yield* Engines
  const splits = yield* Splits
  const solo = yield* Solo
  let sequence = 0
  return Effect.gen(function* () {
    const issuedAtMs = yield* Clock.currentTimeMillis
    // The clock rises over restarts too, so no counter has to be kept.
    sequence = Math.max(sequence + 1, issuedAtMs)
    const stages = (yield* splits.offers).slice(0, stageOffersMax)
    const offer = yield* solo.offer
    const announcement = Announcement.sign(identity, {
      info: {
        ...self,
        models: engines.models(),
        ...(stages.length === 0 ? {} : { stages }),
        ...(offer === undefined ? {} : { solo: offer })
      },
      audience,
      sequence,
      issuedAtMs,
      expiresAtMs: issuedAtMs + Announcement.validityMs
    })
    const { heartbeatEveryMs } = yield* Effect.timeout(control.Register({ announcement }), controlDeadline)
    return heartbeatEveryMs
  })
})

/** Dials the entry's addresses in its order of preference; fails with the last one's reason. */
const dial = (url: string, { meshAddresses, peerId }: EntryDescription) =>
  Effect.firstSuccessOf(
    meshAddresses.map((address) => Link.dial(EntryDiscovery.dialable(address, url), { role: "peer", expected: peerId }))
  )

const describe = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}
