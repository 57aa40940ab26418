/** Whether the server is about to stop: new requests for answers are refused then, those under way go on. */
import { Context, Effect, Layer, Ref } from "effect"

/** Tells whether the server drains. */
export class Draining extends Context.Tag("@weft/entry/http/Draining")<
  Draining,
  { readonly isOn: Effect.Effect<boolean>; readonly begin: Effect.Effect<void> }
>() {
  static readonly layer: Layer.Layer<Draining> = Layer.effect(
    Draining,
    Effect.map(Ref.make(false), (ref) => ({ isOn: Ref.get(ref), begin: Ref.set(ref, true) }))
  )
}
