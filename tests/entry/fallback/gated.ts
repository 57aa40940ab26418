/** A door before which the mesh misses its promise, and a provider: what the tests of the fallback share. */
import type { Measured } from "@weft/entry/sla/Gate"
import type { Tiers } from "@weft/entry/sla/Tier"
import { names } from "@weft/entry/sla/VerdictHeaders"
import { Effect } from "effect"
import { type DoorOptions, open } from "../support.ts"
import { type Behaviour, startProvider, streaming, usual } from "./provider.ts"

/** The models that promise something. */
export const tiers: Tiers = [{ tier: "daily-driver", patterns: ["plain", "gone", "busy"] }]
/** What one peer shows that keeps none of it. */
export const slow: ReadonlyArray<Measured | undefined> = [{ ttftMs: 9_000, tokensPerSecond: 1 }]
/** Gives a usual answer. */
export const answering = (): Behaviour => () => streaming(usual)

/** Opens a door before which the mesh misses its promise, and a provider. */
export const gated = (behaviour: (left: () => void) => Behaviour, options: DoorOptions = {}, changes = {}) =>
  Effect.gen(function* () {
    const provider = yield* startProvider(behaviour)
    const config = { tiers, ...provider.config(changes), ...options.config }
    const door = yield* open({ measured: () => slow, ...options, config })
    return { door, provider, chat: `${door.url}/v1/chat/completions` }
  })

/** Returns what the headers of a response say of the gate, by their names behind `x-weft-`. */
export const weftHeaders = (headers: Headers) =>
  Object.fromEntries(
    names.flatMap((name) => (headers.has(name) ? [[name.slice("x-weft-".length), headers.get(name)]] : []))
  )
