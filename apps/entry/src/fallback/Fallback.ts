/**
 * The provider that stands in where the mesh misses what a tier promises. Owns the budgets of addresses, the trials of
 * models and one fiber per answer under way; `GatedAnswer.ts` asks it.
 */
import type { GenerateEvent } from "@weft/engine/Generation"
import { Context, Effect, FiberId, FiberSet, Layer, Option } from "effect"
import { EntryConfig } from "../EntryConfig.ts"
import type { Verdict } from "../sla/Gate.ts"
import { Budget } from "./Budget.ts"
import * as Decision from "./Decision.ts"
import { FallbackLimits } from "./FallbackLimits.ts"
import * as FallbackMetrics from "./FallbackMetrics.ts"
import * as Provider from "./Provider.ts"
import { Trials } from "./Trials.ts"

/** Is told what becomes of one answer, in order; nothing after a cancel. Its functions throw nothing. */
export interface ProviderListener {
  /** Events that came together; the last of all is `Finished`. */
  readonly events: (events: ReadonlyArray<GenerateEvent>) => void
  /** There will be no more events, though the last did not come. */
  readonly failed: () => void
}

/** Represents what the choice depends on beside the verdict. */
export interface Question {
  readonly model: string
  /** Whether the request means the same elsewhere. */
  readonly isPortable: boolean
  /** Returns the address whose budget it takes from. */
  readonly client: () => string
}

/** Stands in for the mesh. */
export class Fallback extends Context.Tag("@weft/entry/Fallback")<
  Fallback,
  {
    /** Decides who is asked first; the provider costs one answer of the address' budget. */
    readonly choose: (verdict: Verdict, question: Question) => Decision.Decision
    /** Asks the provider; returns what cancels it, idempotent. */
    readonly ask: (request: Provider.ProviderRequest, listener: ProviderListener) => () => void
    /** Returns whether the configuration names this model, so that it may be counted by its name. */
    readonly knows: (model: string) => boolean
  }
>() {
  static readonly layer: Layer.Layer<Fallback, never, EntryConfig> = Layer.scoped(
    Fallback,
    Effect.suspend(() => make)
  )
}

// internal

const make = Effect.gen(function* () {
  const { fallback: config } = yield* EntryConfig
  const { answersMax } = yield* FallbackLimits
  const clock = yield* Effect.clock
  const run = yield* FiberSet.makeRuntime<never>()
  const budget = new Budget(Option.match(config, { onNone: () => 0, onSome: ({ perAddressHour }) => perAddressHour }))
  const trials = new Trials()
  let underWay = 0
  if (Option.isSome(config)) yield* Effect.logInfo(`where the mesh is too slow, ${config.value.url} answers`)

  const choose = (verdict: Verdict, { client, isPortable, model }: Question): Decision.Decision => {
    const decision = Decision.decide(config, verdict, model, isPortable)
    if (decision._tag === "Mesh") return decision
    const nowMs = clock.unsafeCurrentTimeMillis()
    if (verdict.candidates > 0 && trials.isDue(model, nowMs)) return { _tag: "Mesh", status: "trial" }
    return underWay < answersMax && budget.take(client(), nowMs)
      ? decision
      : { _tag: "Mesh", status: "budget-exhausted" }
  }

  const ask = (request: Provider.ProviderRequest, listener: ProviderListener): (() => void) => {
    if (Option.isNone(config)) return () => undefined
    let isOver = false
    const failed = Effect.sync(() => {
      if (!isOver) listener.failed()
    })
    const answer = Provider.answer(config.value, request, (events) => {
      if (!isOver) listener.events(events)
    }).pipe(
      Effect.catchTag("ProviderFailed", (failure) => {
        FallbackMetrics.failed(failure.reason)
        return Effect.zipRight(Effect.logWarning(`the provider failed: ${failure.message}`), failed)
      }),
      Effect.catchAllDefect((defect) =>
        Effect.zipRight(Effect.logError("an answer of the provider broke", defect), failed)
      ),
      Effect.ensuring(Effect.sync(() => underWay--))
    )
    underWay++
    const fiber = run(answer)
    return () => {
      isOver = true
      fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  return Fallback.of({
    choose,
    ask,
    knows: (model) => Option.exists(config, ({ models }) => models.has(model))
  })
}).pipe(Effect.annotateLogs({ module: "Fallback" }))
