/** What requests for an answer need that outlives them: who lets them in, who answers, bounds, counts and clock. */
import { type Clock, Duration, Effect, type Scope } from "effect"
import { Admission } from "../Admission.ts"
import { EntryConfig } from "../EntryConfig.ts"
import { Fallback } from "../fallback/Fallback.ts"
import { Inference } from "../Inference.ts"
import { Performance } from "../performance/Performance.ts"
import { Share } from "../share/Share.ts"
import { Sla } from "../sla/Sla.ts"
import * as AnswerClock from "./AnswerClock.ts"
import * as DoorLog from "./DoorLog.ts"
import { Draining } from "./Draining.ts"
import { HttpLimits, type HttpLimitsShape } from "./HttpLimits.ts"

/** Represents what all requests for an answer share. */
export interface AnswerDoor {
  readonly admission: typeof Admission.Service
  readonly inference: typeof Inference.Service
  readonly sla: typeof Sla.Service
  readonly fallback: typeof Fallback.Service
  readonly performance: typeof Performance.Service
  readonly share: typeof Share.Service
  /** Whether `X-Forwarded-For` says who asked. */
  readonly trustedProxy: boolean
  readonly limits: HttpLimitsShape
  /** The bounds in time as ticks of `ticking`. */
  readonly ticksMax: { readonly body: number; readonly answer: number; readonly stall: number }
  readonly clock: Clock.Clock
  readonly ticking: AnswerClock.AnswerClock
  readonly draining: Draining
  readonly log: DoorLog.DoorLog
}

/** Makes what is shared; the clock of its answers ticks in the scope. */
export const make: Effect.Effect<
  AnswerDoor,
  never,
  Admission | EntryConfig | Fallback | Inference | Performance | Share | Sla | Scope.Scope
> = Effect.gen(function* () {
  const limits = yield* HttpLimits
  // half a period: a stream is quiet for at most a whole one
  const ticking = yield* AnswerClock.make(Duration.times(limits.keepAlive, 0.5))
  return {
    admission: yield* Admission,
    inference: yield* Inference,
    sla: yield* Sla,
    fallback: yield* Fallback,
    performance: yield* Performance,
    share: yield* Share,
    trustedProxy: (yield* EntryConfig).trustedProxy,
    limits,
    ticksMax: {
      body: ticking.ticksOf(limits.bodyDeadline),
      answer: ticking.ticksOf(limits.answerDeadline),
      stall: ticking.ticksOf(limits.streamStall)
    },
    clock: yield* Effect.clock,
    ticking,
    draining: new Draining(),
    log: yield* DoorLog.make
  }
})
