/** The registry: entries live as long as their scope. */
import { expect } from "bun:test"
import { Rpc, RpcGroup } from "@effect/rpc"
import * as Actor from "@weft/actors/Actor"
import { ActorAddress } from "@weft/actors/ActorAddress"
import * as Registry from "@weft/actors/Registry"
import { Deferred, Effect, Exit, Fiber, Mailbox, Scope, Stream } from "effect"
import { it } from "../support/effect.ts"
import { Counter, counter } from "./Counter.ts"

const address = (id: string) => new ActorAddress({ peer: "here", kind: "counter", id })
const spawn = Actor.spawn(Counter, counter(), { mailboxCapacity: 16 })
const written = (addresses: ReadonlyArray<ActorAddress>) => addresses.map(String).sort()

it.effect("an entry is found by an equal address until its scope closes, then it is gone", () =>
  Effect.gen(function* () {
    const registry = yield* Registry.Registry
    const { ref } = yield* spawn
    const scope = yield* Scope.make()
    yield* Scope.extend(registry.register(Counter, address("a"), ref), scope)
    const found = yield* registry.find(Counter, address("a"))
    expect(yield* found.Add({ n: 3 })).toBe(3)
    expect(written(yield* registry.list)).toEqual(["here/counter/a"])
    yield* Scope.close(scope, Exit.void)
    expect((yield* Effect.flip(registry.find(Counter, address("a")))).address).toBe("here/counter/a")
    expect(yield* registry.list).toEqual([])
  }).pipe(Effect.provide(Registry.Registry.layer))
)

it.effect("an address that is taken is refused, and its holder stays", () =>
  Effect.gen(function* () {
    const registry = yield* Registry.Registry
    const { ref } = yield* spawn
    yield* registry.register(Counter, address("a"), ref)
    const refused = yield* Effect.flip(Effect.scoped(registry.register(Counter, address("a"), (yield* spawn).ref)))
    expect(refused.reason).toBe("AddressTaken")
    expect(yield* registry.find(Counter, address("a"))).toBe(ref)
  }).pipe(Effect.provide(Registry.Registry.layer))
)

it.effect("a full registry refuses", () =>
  Effect.gen(function* () {
    const registry = yield* Registry.make({ capacity: 1 })
    const { ref } = yield* spawn
    yield* registry.register(Counter, address("a"), ref)
    expect((yield* Effect.flip(registry.register(Counter, address("b"), ref))).reason).toBe("Full")
  })
)

it.effect("a ref is never found as another actor's, not even of the same kind; a wrong kind is a defect", () =>
  Effect.gen(function* () {
    const registry = yield* Registry.Registry
    const { ref } = yield* spawn
    yield* registry.register(Counter, address("a"), ref)
    const impostor = Actor.make("counter", RpcGroup.make(Rpc.make("Other")))
    expect((yield* Effect.flip(registry.find(impostor, address("a"))))._tag).toBe("ActorNotFound")
    const stage = new ActorAddress({ peer: "here", kind: "stage", id: "a" })
    expect(Exit.isFailure(yield* Effect.exit(registry.register(Counter, stage, ref)))).toBe(true)
  }).pipe(Effect.provide(Registry.Registry.layer))
)

it.effect("changes gives the list now and after each change; a slow reader gets the latest", () =>
  Effect.gen(function* () {
    const registry = yield* Registry.Registry
    const { ref } = yield* spawn
    yield* registry.register(Counter, address("a"), ref)
    const seen = yield* Mailbox.make<ReadonlyArray<string>>()
    const go = yield* Deferred.make<void>()
    const reading = yield* registry.changes.pipe(
      Stream.runForEach((list) => Effect.zipRight(seen.offer(written(list)), Deferred.await(go))),
      Effect.fork
    )
    expect(yield* seen.take).toEqual(["here/counter/a"])
    const scope = yield* Scope.make()
    yield* Scope.extend(registry.register(Counter, address("b"), ref), scope)
    yield* registry.register(Counter, address("c"), ref)
    yield* Scope.close(scope, Exit.void)
    yield* Deferred.succeed(go, undefined)
    let latest: ReadonlyArray<string> = []
    while (latest.length !== 2) latest = yield* seen.take
    expect(latest).toEqual(["here/counter/a", "here/counter/c"])
    yield* Fiber.interrupt(reading)
  }).pipe(Effect.provide(Registry.Registry.layer))
)
