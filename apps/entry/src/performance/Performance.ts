/** What this entry measured of its peers' answers. Written at the end of each answer, read by who chooses and who shows. */
import { Context, Duration, Effect, Layer, Schedule } from "effect"
import type { AnswerSample } from "../http/AnswerSample.ts"
import * as State from "./PerformanceState.ts"

/** Remembers the last hour of answers. */
export class Performance extends Context.Tag("@weft/entry/Performance")<
  Performance,
  {
    readonly record: (served: State.Served, sample: AnswerSample) => void
    /** Returns the last hour of one peer, model and mode; undefined where nothing was measured. */
    readonly of: (served: State.Served) => State.Figures | undefined
    /** Returns the last hour of all peers that served a model in this mode, or of it what is not older than `fromMs`. */
    readonly ofModel: (model: string, mode: State.Mode, fromMs?: number) => State.Figures | undefined
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
  let state = State.empty
  const expire = Effect.sync(() => {
    state = State.expire(state, now())
  })
  yield* Effect.forkScoped(Effect.repeat(expire, Schedule.spaced(expireEvery)))
  return Performance.of({
    record: (served, sample) => {
      state = State.record(state, served, sample, now())
    },
    of: ({ mode, model, peer }) =>
      State.figuresOf(state, (one) => one.peer === peer && one.model === model && one.mode === mode, now()),
    ofModel: (model, mode, fromMs) =>
      State.figuresOf(state, (one) => one.model === model && one.mode === mode, now(), fromMs)
  })
})
