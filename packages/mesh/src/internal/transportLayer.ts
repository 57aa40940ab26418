/**
 * What the three transports have in common: a bounded mailbox of accepted sessions, dials with a deadline, and the end
 * of every session with the layer's scope. A layer brings its own way to listen and to dial raw sessions.
 */
import { Effect, FiberSet, Mailbox, type Scope } from "effect"
import { SessionError } from "../MeshError.ts"
import * as MeshMetrics from "../MeshMetrics.ts"
import * as Session from "../Session.ts"
import type { Session as MeshSession, Transport } from "../Transport.ts"
import type { TransportLimits } from "../TransportLimits.ts"
import type { RawSession } from "./RawSession.ts"

/** Represents a socket that listens, and dials from the same address where the layer can. */
export interface Listener {
  /** Where it listens, as others dial it. */
  readonly address: string
  /** Makes a raw session; leaves nothing behind when interrupted. */
  readonly dial: (address: string) => Effect.Effect<RawSession, SessionError>
}

/** Represents one layer's way to listen and to dial. */
export interface Driver {
  readonly layer: MeshMetrics.Layer
  readonly scheme: Transport["Type"]["scheme"]
  /** Listens until the scope ends, and hands over every session whose handshake is done. */
  readonly listen: (onSession: (raw: RawSession) => void) => Effect.Effect<Listener, SessionError, Scope.Scope>
}

/** Builds the transport; its scope owns the listener and every session. */
export const make = Effect.fnUntraced(function* (
  driver: Driver,
  limits: TransportLimits
): Effect.fn.Return<Transport["Type"], SessionError, Scope.Scope> {
  const waiting = yield* Mailbox.make<MeshSession>({ capacity: limits.sessionsWaitingMax, strategy: "dropping" })
  const dialled = new Set<MeshSession>()
  const make = (raw: RawSession, direction: MeshSession["direction"]) =>
    Session.make(raw, { layer: driver.layer, direction, limits })

  const serve = (raw: RawSession) =>
    make(raw, "accepted").pipe(
      Effect.flatMap((session) =>
        waiting.unsafeOffer(session)
          ? session.closed
          : Effect.zipRight(
              session.close(Session.CloseCode.refused, "too many sessions wait to be accepted"),
              Effect.sync(() => MeshMetrics.sessionRefused("limit"))
            )
      ),
      Effect.scoped
    )

  // The listener is made first, so that it is released last: sessions say goodbye over it.
  const accepted = { run: (_raw: RawSession): void => {} }
  const listener = yield* driver.listen((raw) => accepted.run(raw))
  const fibers = yield* FiberSet.make()
  const run = yield* FiberSet.runtime(fibers)<never>()
  accepted.run = (raw) => {
    if (Effect.runSync(FiberSet.size(fibers)) >= limits.sessionsMax) {
      raw.close(Session.CloseCode.refused, "too many sessions")
      MeshMetrics.sessionRefused("limit")
      return
    }
    // The layer is built uninterruptibly, and fibers inherit that.
    run(Effect.interruptible(serve(raw)))
  }
  yield* Effect.addFinalizer(() =>
    Effect.forEach(dialled, (session) => session.close(Session.CloseCode.released, "leaving"), { discard: true })
  )

  const dial = (to: string): Effect.Effect<MeshSession, SessionError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) =>
      restore(listener.dial(to)).pipe(
        Effect.timeoutFail({
          duration: limits.dialTimeout,
          onTimeout: () => new SessionError({ reason: "DialTimeout", address: to })
        }),
        Effect.flatMap((raw) => make(raw, "dialled")),
        Effect.tap((session) => {
          dialled.add(session)
          return Effect.addFinalizer(() => Effect.sync(() => dialled.delete(session)))
        })
      )
    )

  return {
    scheme: driver.scheme,
    address: listener.address,
    dial: (to) => Effect.withSpan(dial(to), "Transport.dial", { attributes: { address: to } }),
    accept: Effect.catchTag(waiting.take, "NoSuchElementException", (cause) => Effect.die(cause))
  }
})
