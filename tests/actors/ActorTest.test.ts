/** The test client: what it carries went through bytes, what bytes cannot carry fails. */
import { expect } from "bun:test"
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import * as ActorTest from "@weft/actors/ActorTest"
import { Cause, Chunk, Effect, Exit, FastCheck, Schema, Stream } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter } from "./Counter.ts"

class Point extends Schema.Class<Point>("Point")({ x: Schema.Number, at: Schema.DateFromNumber }) {}

const EchoRpcs = RpcGroup.make(
  Rpc.make("Point", { payload: { point: Point }, success: Point }),
  Rpc.make("Bytes", { payload: { bytes: Schema.Uint8ArrayFromSelf }, success: Schema.Uint8ArrayFromSelf }),
  Rpc.make("Raw", { payload: { value: Schema.Unknown }, success: Schema.Unknown }),
  Rpc.make("Lie", { success: Schema.NonEmptyString }),
  Rpc.make("RawOut", { success: Schema.Unknown }),
  Rpc.make("Count", { payload: { to: Schema.Int }, success: Schema.Int, stream: true })
)
const Echo = Actor.make("echo", EchoRpcs)
const received: Array<unknown> = []
const echo = Effect.succeed(
  EchoRpcs.of({
    Point: ({ point }) =>
      Effect.as(
        Effect.sync(() => received.push(point)),
        point
      ),
    Bytes: ({ bytes }) => Effect.succeed(bytes),
    Raw: ({ value }) => Effect.succeed(value),
    Lie: () => Effect.succeed(""),
    RawOut: () => Effect.succeed(Symbol("no such thing on a wire")),
    Count: ({ to }) => Stream.range(1, to)
  })
)

it.effect("values arrive equal and are not the ones that were sent", () =>
  Effect.gen(function* () {
    const client = yield* ActorTest.makeClient(Echo, echo)
    const point = new Point({ x: 1.5, at: new Date(5) })
    const answer = yield* client.Point({ point })
    expect(answer).toEqual(point)
    expect(received[0]).toEqual(point)
    expect(received[0]).not.toBe(point)
    expect(answer).not.toBe(received[0])
  })
)

it.prop("bytes come back as they were", FastCheck.uint8Array({ maxLength: 3000 }), (bytes) =>
  Effect.gen(function* () {
    const client = yield* ActorTest.makeClient(Echo, echo)
    expect(Array.from(yield* client.Bytes({ bytes }))).toEqual(Array.from(bytes))
  })
)

it.effect("streams, typed errors and the actor's own defects cross", () =>
  Effect.gen(function* () {
    const client = yield* ActorTest.makeClient(Echo, echo)
    const counted = yield* Stream.runCollect(client.Count({ to: 40 }))
    expect(Chunk.toReadonlyArray(counted)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1))
    const counting = yield* ActorTest.makeClient(Counter, counter())
    expect(yield* Effect.flip(counting.Refuse())).toBe("no")
    expect(yield* counting.batch.Add({ n: [1, 2] })).toBe(3)
    expect(yield* Effect.exit(counting.Crash())).toEqual(Exit.die("crash"))
  })
)

it.effect("what msgpack cannot carry fails the call, to the actor and from it, and the link goes on", () =>
  Effect.gen(function* () {
    const client = yield* ActorTest.makeClient(Echo, echo)
    const out = yield* Effect.exit(client.Raw({ value: Symbol("no such thing on a wire") }))
    expect(Exit.isFailure(out) && Cause.isDie(out.cause)).toBe(true)
    const back = yield* Effect.exit(client.RawOut())
    expect(Exit.isFailure(back) && Cause.isDie(back.cause)).toBe(true)
    expect(yield* client.Raw({ value: { a: [1, null, "x"] } })).toEqual({ a: [1, null, "x"] })
  })
)

it.effect("what the schema cannot carry fails the call", () =>
  Effect.gen(function* () {
    const client = yield* ActorTest.makeClient(Echo, echo)
    const lie = yield* Effect.exit(client.Lie())
    expect(Exit.isFailure(lie) && Cause.isDie(lie.cause)).toBe(true)
    expect(Exit.isFailure(lie) && Cause.pretty(lie.cause)).toContain("NonEmptyString")
  })
)
