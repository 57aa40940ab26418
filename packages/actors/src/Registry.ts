/** Which actors live in this process: refs by address, each entry as long-lived as the scope that registered it. */
import type { Rpc } from "@effect/rpc"
import { Context, Data, Effect, HashMap, Layer, Option, PubSub, Ref, type Scope, Stream } from "effect"
import type { Actor } from "./Actor.ts"
import type { ActorAddress } from "./ActorAddress.ts"
import { ActorNotFound } from "./ActorError.ts"
import type { ActorRef } from "./ActorRef.ts"

/** A process with this many addressed actors is one in which something leaks. */
const capacityDefault = 65_536

/**
 * Represents an address that could not be registered: another live entry has it, or the registry is at its bound.
 *
 * @category errors
 */
export class RegistrationRefused extends Data.TaggedError("RegistrationRefused")<{
  readonly reason: "AddressTaken" | "Full"
  readonly address: ActorAddress
}> {
  override get message(): string {
    return this.reason === "Full"
      ? `'${this.address}' was not registered, the registry is full: look for scopes that are never closed`
      : `'${this.address}' is taken: find the actor that has it, or wait for its end`
  }
}

/**
 * Finds the actors of this process by address.
 *
 * @category services
 */
export class Registry extends Context.Tag("@weft/actors/Registry")<
  Registry,
  {
    /** Adds an entry until the scope closes. An address of another kind than the actor's is a defect. */
    readonly register: <Rpcs extends Rpc.Any>(
      actor: Actor<Rpcs>,
      address: ActorAddress,
      ref: ActorRef<Rpcs>
    ) => Effect.Effect<void, RegistrationRefused, Scope.Scope>
    /** Returns the ref at `address`; fails when there is none, or it is of another actor than `actor`. */
    readonly find: <Rpcs extends Rpc.Any>(
      actor: Actor<Rpcs>,
      address: ActorAddress
    ) => Effect.Effect<ActorRef<Rpcs>, ActorNotFound>
    /** Every address with an entry, in no order. */
    readonly list: Effect.Effect<ReadonlyArray<ActorAddress>>
    /** The list now and after each change; a slow reader misses lists in between, never the latest. */
    readonly changes: Stream.Stream<ReadonlyArray<ActorAddress>>
  }
>() {
  /** Provides an empty registry that holds at most 65,536 entries. */
  static readonly layer: Layer.Layer<Registry> = Layer.effect(
    Registry,
    Effect.suspend(() => make({ capacity: capacityDefault }))
  )
}

/**
 * Makes an empty registry that holds at most `capacity` entries.
 *
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (options: {
  readonly capacity: number
}): Effect.fn.Return<Registry["Type"]> {
  const entries = yield* Ref.make(HashMap.empty<ActorAddress, Entry>())
  // One slot that slides: who lags reads the latest list.
  const lists = yield* PubSub.sliding<ReadonlyArray<ActorAddress>>(1)
  const list = Effect.map(Ref.get(entries), addresses)

  const add = Effect.fnUntraced(function* (address: ActorAddress, entry: Entry) {
    const reason = yield* Ref.modify(entries, (current): [RegistrationRefused["reason"] | undefined, Entries] => {
      if (HashMap.has(current, address)) return ["AddressTaken", current]
      if (HashMap.size(current) >= options.capacity) return ["Full", current]
      return [undefined, HashMap.set(current, address, entry)]
    })
    if (reason !== undefined) return yield* new RegistrationRefused({ reason, address })
    yield* Effect.flatMap(list, (addresses) => PubSub.publish(lists, addresses))
  })

  const remove = (address: ActorAddress) =>
    Ref.update(entries, HashMap.remove(address)).pipe(
      Effect.zipRight(list),
      Effect.flatMap((addresses) => PubSub.publish(lists, addresses))
    )

  return {
    register: (actor, address, ref) =>
      address.kind === actor.kind
        ? Effect.acquireRelease(add(address, { actor, ref }), () => remove(address))
        : Effect.dieMessage(`'${address}' is no address of a '${actor.kind}'`),
    find: <Rpcs extends Rpc.Any>(actor: Actor<Rpcs>, address: ActorAddress) =>
      Effect.flatMap(Ref.get(entries), (current) => {
        const entry = Option.getOrUndefined(HashMap.get(current, address))
        if (entry?.actor !== actor) return Effect.fail(new ActorNotFound({ address: address.toString() }))
        // Registered with this very definition, so the ref is of its protocol.
        return Effect.succeed(entry.ref as ActorRef<Rpcs>)
      }),
    list,
    changes: Stream.unwrapScoped(
      Effect.gen(function* () {
        const next = yield* PubSub.subscribe(lists)
        return Stream.concat(Stream.fromEffect(list), Stream.fromQueue(next))
      })
    )
  }
})

// internal

interface Entry {
  readonly actor: unknown
  readonly ref: unknown
}

type Entries = HashMap.HashMap<ActorAddress, Entry>

const addresses = (entries: Entries): ReadonlyArray<ActorAddress> => [...HashMap.keys(entries)]
