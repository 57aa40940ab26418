/**
 * The provider that stands in where the mesh misses what a tier promises. Owns the budgets of addresses, the trials of
 * models, the provider's breaker and one fiber per answer under way; `GatedAnswer.ts` asks it.
 */
import { type GenerateEvent, isLast } from "@weft/engine/Generation"
import { type Clock, Context, Duration, Effect, FiberId, FiberSet, Layer, Option } from "effect"
import { type Breaker, closed } from "../Breaker.ts"
import { EntryConfig } from "../EntryConfig.ts"
import type { Verdict } from "../sla/Gate.ts"
import { Budget } from "./Budget.ts"
import * as Decision from "./Decision.ts"
import type { FallbackConfig } from "./FallbackConfig.ts"
import { FallbackLimits } from "./FallbackLimits.ts"
import * as FallbackMetrics from "./FallbackMetrics.ts"
import * as Provider from "./Provider.ts"
import { type Attempt, ProviderBreaker } from "./ProviderBreaker.ts"
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

/** Represents who is asked first. */
export type Choice =
  | Extract<Decision.Decision, { readonly _tag: "Mesh" }>
  | {
      readonly _tag: "Provider"
      /** Asks it, to be called once and at once; returns what cancels it, idempotent. */
      readonly ask: (request: Omit<Provider.ProviderRequest, "model">, listener: ProviderListener) => () => void
    }

/** Stands in for the mesh. */
export class Fallback extends Context.Tag("@weft/entry/Fallback")<
  Fallback,
  {
    /** Decides who is asked first; the provider costs one answer of the address' budget, unless it is not reached. */
    readonly choose: (verdict: Verdict, question: Question) => Choice
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
  const { answersMax, patience, slow } = yield* FallbackLimits
  const clock = yield* Effect.clock
  const run = yield* FiberSet.makeRuntime<never>()
  const budget = new Budget(Option.match(config, { onNone: () => 0, onSome: ({ perAddressHour }) => perAddressHour }))
  const trials = new Trials()
  const times = { slowMs: Duration.toMillis(slow), patienceMs: Duration.toMillis(patience) }
  const breaker = new ProviderBreaker(times, (changed) => {
    FallbackMetrics.breakerChanged(changed)
    run(logChange(changed))
  })
  let underWay = 0
  FallbackMetrics.breakerChanged(closed)
  if (Option.isSome(config)) yield* Effect.logInfo(`where the mesh is too slow, ${config.value.url} answers`)

  const ask = (asked: Asked): (() => void) => {
    const { leave, reading } = read(asked, breaker.sent(clock.unsafeCurrentTimeMillis()), clock)
    underWay++
    const fiber = run(
      Effect.ensuring(
        reading,
        Effect.sync(() => underWay--)
      )
    )
    return () => {
      leave()
      fiber.unsafeInterruptAsFork(FiberId.none)
    }
  }

  const choose = (verdict: Verdict, { client, isPortable, model }: Question): Choice => {
    const decision = Decision.decide(config, verdict, model, isPortable)
    if (decision._tag === "Mesh") return decision
    const nowMs = clock.unsafeCurrentTimeMillis()
    if (!breaker.passes(nowMs)) return Decision.mesh("breaker-open")
    if (verdict.candidates > 0 && trials.isDue(model, nowMs)) return Decision.mesh("trial")
    const giveBack = underWay < answersMax ? budget.take(client(), nowMs) : undefined
    if (giveBack === undefined) return Decision.mesh("budget-exhausted")
    const { config: provider, model: theirs } = decision
    return {
      _tag: "Provider",
      ask: (request, listener) => ask({ config: provider, request: { ...request, model: theirs }, listener, giveBack })
    }
  }

  return Fallback.of({ choose, knows: (model) => Option.exists(config, ({ models }) => models.has(model)) })
}).pipe(Effect.annotateLogs({ module: "Fallback" }))

interface Asked {
  readonly config: FallbackConfig
  readonly request: Provider.ProviderRequest
  readonly listener: ProviderListener
  /** Gives its answer back to the address' budget. */
  readonly giveBack: () => void
}

/** Returns what reads one answer to its end, and what is called before it is interrupted: the client left. */
const read = ({ config, giveBack, listener, request }: Asked, attempt: Attempt, clock: Clock.Clock) => {
  let isOver = false
  const now = () => clock.unsafeCurrentTimeMillis()
  const failed = Effect.sync(() => {
    if (!isOver) listener.failed()
  })
  const reading = Provider.answer(config, request, (events) => {
    if (isOver) return
    attempt.text(now())
    if (events.some(isLast)) attempt.ended("whole", now())
    listener.events(events)
  }).pipe(
    Effect.catchTag("ProviderFailed", (failure) => {
      attempt.ended(failure.isOfRequest ? "rejected" : "failed", now())
      if (failure.reason === "unreachable") giveBack()
      FallbackMetrics.failed(failure.reason)
      return Effect.zipRight(Effect.logWarning(`the provider failed: ${failure.message}`), failed)
    }),
    Effect.catchAllDefect((defect) => {
      attempt.ended("failed", now())
      return Effect.zipRight(Effect.logError("an answer of the provider broke", defect), failed)
    })
  )
  const leave = () => {
    isOver = true
    attempt.ended("left", now())
  }
  return { reading, leave }
}

const logChange = (changed: Breaker): Effect.Effect<void> => {
  switch (changed._tag) {
    case "Open": {
      const seconds = Math.round(changed.openMs / 1_000)
      return Effect.logWarning(`the provider is asked nothing for ${seconds} s as it failed; the mesh answers`)
    }
    case "HalfOpen":
      return Effect.logDebug("one request shows whether the provider has recovered")
    case "Closed":
      return Effect.logInfo("the provider has recovered and is asked again")
  }
}
