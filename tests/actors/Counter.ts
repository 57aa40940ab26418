/** The actor most tests talk to: a sum, with messages that crash, wait and stream. */
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import { Deferred, Effect, Schema, SubscriptionRef } from "effect"

export class CounterRpcs extends RpcGroup.make(
  Rpc.make("Add", { payload: { n: Schema.Int }, success: Schema.Int }),
  Rpc.make("Refuse", { error: Schema.String }),
  Rpc.make("Crash"),
  Rpc.make("Hold"),
  Rpc.make("Watch", { success: Schema.Int, stream: true }),
  Rpc.make("batch.Add", { payload: { n: Schema.Array(Schema.Int) }, success: Schema.Int })
) {}

export const Counter = Actor.make("counter", CounterRpcs)

/** Returns the behaviour; `Hold` says on `held` that it runs and ends when `release` is done. */
export const counter = (hooks?: {
  readonly held: Deferred.Deferred<void>
  readonly release: Deferred.Deferred<void>
}) =>
  Effect.gen(function* () {
    const sum = yield* SubscriptionRef.make(0)
    const add = (n: number) => SubscriptionRef.updateAndGet(sum, (x) => x + n)
    return CounterRpcs.of({
      Add: ({ n }) => add(n),
      Refuse: () => Effect.fail("no"),
      Crash: () => Effect.die("crash"),
      Hold: () =>
        hooks === undefined
          ? Effect.never
          : Effect.zipRight(Deferred.succeed(hooks.held, undefined), Deferred.await(hooks.release)),
      Watch: () => sum.changes,
      "batch.Add": ({ n }) => add(n.reduce((a, b) => a + b, 0))
    })
  })

export const hooks = Effect.all({ held: Deferred.make<void>(), release: Deferred.make<void>() })
