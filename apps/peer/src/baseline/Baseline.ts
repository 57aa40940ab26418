/**
 * Measures how fast this peer's whole models answer with no mesh in the way, while nobody asks for anything: the engine
 * is asked directly, and let go at once when a request comes. Owns one fiber; `BaselineTurn.ts` (pure) says when.
 *
 *   BaselineTurn ─▶ engine ─▶ BaselineFigures ─▶ BaselineFile, Engines (announcement, status), PeerMetrics
 */
import type { FileSystem } from "@effect/platform"
import type { WholeEngine } from "@weft/engine/EngineSupervisor"
import { isLast } from "@weft/engine/Generation"
import type { NativeFigures } from "@weft/mesh/ModelDescription"
import { Clock, Duration, Effect, Layer, Schedule } from "effect"
import { Answers } from "../Answers.ts"
import { Engines } from "../Engines.ts"
import * as PeerMetrics from "../PeerMetrics.ts"
import { Splits } from "../Splits.ts"
import * as BaselineFigures from "./BaselineFigures.ts"
import * as BaselineFile from "./BaselineFile.ts"
import * as BaselineTurn from "./BaselineTurn.ts"

/** Represents where it is kept, and how patiently it is measured. */
export interface BaselineOptions {
  /** The file of what was measured before. */
  readonly path: string
  readonly times?: Partial<BaselineTurn.BaselineTimes>
  /** Between two looks whether a model is due; 5 s where absent. */
  readonly lookEvery?: Duration.DurationInput
}

/** Measures for as long as the layer lives. */
export const layer = (
  options: BaselineOptions
): Layer.Layer<never, never, Answers | Engines | Splits | FileSystem.FileSystem> =>
  Layer.scopedDiscard(Effect.forkScoped(watch(options)))

const times: BaselineTurn.BaselineTimes = {
  afterReadyMs: 30_000,
  everyMs: Duration.toMillis("12 hours"),
  againMs: Duration.toMillis("10 minutes")
}
/** A look reads two small files a model. */
const lookEvery = "5 seconds"
/** Between two completions: what the one before heated and woke has come to rest. */
const pause = "1 second"
/** Longest completion: 128 tokens of a model that gives one in four seconds. */
const runDeadline = "10 minutes"

// internal

/** One model, and what is known of it. */
interface Subject {
  readonly engine: WholeEngine
  readySinceMs: number | undefined
  setup: string
  known: BaselineTurn.Candidate["known"]
  triedAtMs: number | undefined
}

const watch = Effect.fnUntraced(
  function* (options: BaselineOptions) {
    const answers = yield* Answers
    const engines = yield* Engines
    const known = new Map<WholeEngine, Subject>()
    const patience = { ...times, ...options.times }
    const look = Effect.gen(function* () {
      const subjects = yield* meetAll(known, options.path)
      yield* Effect.forEach(subjects, observe, { discard: true })
      const subject = BaselineTurn.next(subjects, yield* isIdle(subjects), patience, yield* Clock.currentTimeMillis)
      if (subject === undefined) return
      const samples: Array<BaselineFigures.BaselineSample> = []
      yield* engines.unseen(subject.engine, Effect.raceFirst(complete(subject.engine, samples), answers.busy))
      subject.triedAtMs = yield* Clock.currentTimeMillis
      const figures = BaselineFigures.figuresOf(samples, subject.triedAtMs)
      if (figures === undefined) return
      yield* learn(subject, figures)
      yield* BaselineFile.write(options.path, subject.setup, figures)
    })
    yield* Effect.repeat(look, Schedule.spaced(options.lookEvery ?? lookEvery))
  },
  Effect.annotateLogs({ module: "Baseline" })
)

/** Returns the models that are whole here now; an election takes them away and brings others. */
const meetAll = Effect.fnUntraced(function* (known: Map<WholeEngine, Subject>, path: string) {
  const whole = (yield* Engines).whole()
  for (const engine of known.keys()) {
    if (!whole.includes(engine)) known.delete(engine)
  }
  return yield* Effect.forEach(whole, (engine) =>
    Effect.gen(function* () {
      const subject = known.get(engine) ?? (yield* meet(engine, path))
      known.set(engine, subject)
      return subject
    })
  )
})

/** Begins with what an earlier life of the peer measured. */
const meet = Effect.fnUntraced(function* (engine: WholeEngine, path: string) {
  const setup = yield* engine.setup
  const subject: Subject = { engine, readySinceMs: undefined, setup, known: undefined, triedAtMs: undefined }
  const figures = yield* BaselineFile.read(path, setup)
  if (figures !== undefined) yield* learn(subject, figures)
  return subject
})

const observe = Effect.fnUntraced(function* (subject: Subject) {
  const { state } = yield* subject.engine.load
  const nowMs = yield* Clock.currentTimeMillis
  subject.readySinceMs = state === "ready" ? (subject.readySinceMs ?? nowMs) : undefined
  const setup = yield* subject.engine.setup
  if (setup !== subject.setup) subject.triedAtMs = undefined
  subject.setup = setup
})

/** Whether nobody is being answered here, by an engine or by a stage that is lent. */
const isIdle = Effect.fnUntraced(function* (subjects: ReadonlyArray<Subject>) {
  const answers = yield* Answers
  const splits = yield* Splits
  const loads = yield* Effect.forEach(subjects, ({ engine }) => engine.load)
  const { active } = yield* answers.counts
  const isAsked = active > 0 || loads.some((load) => load.active + load.queued > 0)
  return !isAsked && !answers.isDraining() && splits.leases().every(({ jobs }) => jobs === 0)
})

const learn = Effect.fnUntraced(function* (subject: Subject, figures: NativeFigures) {
  const engines = yield* Engines
  const { engine, setup } = subject
  subject.known = { setup, figures }
  const model = { model: engine.model.id }
  PeerMetrics.nativeTokensPerSecond.set(model, figures.tokensPerSecond)
  PeerMetrics.nativeTtft.set(model, figures.ttftMs / 1_000)
  engines.measured(engine, figures)
  yield* Effect.logInfo(`${engine.model.id} gives ${figures.tokensPerSecond.toFixed(1)} tokens/s by itself`)
})

/** Asks for one completion after another; what each told is in `samples` as soon as it has ended. */
const complete = Effect.fnUntraced(function* (engine: WholeEngine, samples: Array<BaselineFigures.BaselineSample>) {
  const firstNumber = Math.floor((yield* Clock.currentTimeMillis) / 1_000)
  for (let run = 0; run < BaselineFigures.runsMax; run++) {
    if (run > 0) yield* Effect.sleep(pause)
    const told = yield* Effect.timeoutOption(completion(engine, firstNumber + run), runDeadline)
    if (told._tag === "Some" && told.value !== undefined) samples.push(told.value)
  }
})

const completion = (engine: WholeEngine, number: number) =>
  Effect.flatMap(Effect.clock, (clock) =>
    Effect.async<BaselineFigures.BaselineSample | undefined>((resume) => {
      const nowMs = (): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6
      const followed = new BaselineFigures.Completion(nowMs())
      const { contextTokens, id } = engine.model
      const cancel = engine.generate(BaselineFigures.request(id, contextTokens, number), (events) => {
        followed.note(events, nowMs())
        if (events.some(isLast)) resume(Effect.succeed(followed.sample))
      })
      return Effect.sync(cancel)
    })
  )
