/** How fast peers serve. Written at the end of each answer, read by who chooses and who shows. */
import { Context, Duration, Effect, Layer, Schedule } from "effect"
import type { AnswerSample } from "../http/AnswerSample.ts"
import { type Measured, PerformanceBoard } from "./PerformanceBoard.ts"
import type { Figures, Mode, Served } from "./PerformanceState.ts"

/** Remembers the last hour of answers. */
export class Performance extends Context.Tag("@weft/entry/Performance")<
  Performance,
  {
    readonly record: (served: Served, sample: AnswerSample) => void
    /** Returns the last hour of one peer, model and mode; undefined where nothing was measured. */
    readonly of: (served: Served) => Figures | undefined
    /** Returns the last hour of all peers of a model in this mode, or of it what is not older than `fromMs`. */
    readonly ofModel: (model: string, mode: Mode, fromMs?: number) => Figures | undefined
    /** Returns what was measured here, without what other entries told. */
    readonly own: () => ReadonlyArray<Measured>
    /** Puts what the entry `origin` measured in the place of what it told before. */
    readonly replace: (origin: string, measured: ReadonlyArray<Measured>) => void
  }
>() {
  static readonly layer: Layer.Layer<Performance> = Layer.scoped(
    Performance,
    Effect.suspend(() => make)
  )
}

/** What is older than an hour is left out anyway; this frees its room. */
const expireEvery = Duration.minutes(1)

// internal

const make = Effect.gen(function* () {
  const clock = yield* Effect.clock
  const now = () => clock.unsafeCurrentTimeMillis()
  const board = new PerformanceBoard()
  const expire = Effect.sync(() => board.expire(now()))
  yield* Effect.forkScoped(Effect.repeat(expire, Schedule.spaced(expireEvery)))
  return Performance.of({
    record: (served, sample) => board.record(served, sample, now()),
    of: (served) => board.of(served, now()),
    ofModel: (model, mode, fromMs) => board.ofModel(model, mode, now(), fromMs),
    own: () => board.own(now()),
    replace: (origin, measured) => board.replace(origin, measured)
  })
})
