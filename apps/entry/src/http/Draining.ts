/** The answers under way, and whether the server is stopping: then none begin, and the end of the last is awaited. */
import { Context, Effect, Layer, type Scope } from "effect"
import { type ApiError, shuttingDown } from "../OpenAiError.ts"

/** Counts the answers under way. */
export class Draining extends Context.Tag("@weft/entry/http/Draining")<
  Draining,
  {
    /** Counts one answer until its scope closes; fails once the server drains. */
    readonly enter: Effect.Effect<void, ApiError, Scope.Scope>
    /** Refuses new answers and waits until those under way have ended. */
    readonly drain: Effect.Effect<void>
  }
>() {
  static readonly layer: Layer.Layer<Draining> = Layer.effect(
    Draining,
    Effect.suspend(() => make)
  )
}

const make: Effect.Effect<Context.Tag.Service<Draining>> = Effect.gen(function* () {
  const idle = yield* Effect.makeLatch(true)
  let underWay = 0
  let isDraining = false
  const enter = Effect.suspend(() => {
    if (isDraining) return shuttingDown()
    underWay++
    return idle.close
  })
  const leave = Effect.suspend(() => (--underWay === 0 ? idle.open : Effect.void))
  return {
    enter: Effect.acquireRelease(enter, () => leave),
    drain: Effect.suspend(() => {
      isDraining = true
      return idle.await
    })
  }
})
