/**
 * The gate of an entry: what it says of each model now, from the directory and the last hour's answers. Owns a small
 * memory of verdicts, so that a request costs a look-up.
 */
import { serving } from "@weft/mesh/PeerDirectory"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Context, Effect, Layer } from "effect"
import { EntryConfig } from "../EntryConfig.ts"
import { Performance } from "../performance/Performance.ts"
import * as Gate from "./Gate.ts"
import { tierOf } from "./Tier.ts"
import * as VerdictHeaders from "./VerdictHeaders.ts"

/** Represents a verdict as it goes out. */
export interface Judged extends Gate.Verdict {
  readonly headers: Readonly<Record<string, string>>
}

/** Judges models. */
export class Sla extends Context.Tag("@weft/entry/Sla")<
  Sla,
  {
    /** Returns the verdict on a model, at most a second old; one on a model without a peer is of now. */
    readonly verdict: (model: string) => Judged
    /** Returns what is said of a model that no peer serves. */
    readonly withoutPeer: (model: string) => Judged
  }
>() {
  static readonly layer: Layer.Layer<Sla, never, EntryConfig | PeerDirectoryActor | Performance> = Layer.effect(
    Sla,
    Effect.suspend(() => make)
  )
}

/** A verdict changes with the medians of an hour, which one second hardly moves. */
const freshMs = 1_000
/** Twice the models of a directory: more were forgotten since, and all are judged anew. */
const keptMax = 2_048

// internal

const make = Effect.gen(function* () {
  const { tiers } = yield* EntryConfig
  const { unsafeSnapshot } = yield* PeerDirectoryActor
  const performance = yield* Performance
  const clock = yield* Effect.clock
  const kept = new Map<string, { readonly judged: Judged; readonly atMs: number }>()

  const candidates = (model: string): ReadonlyArray<Gate.Measured | undefined> =>
    serving(unsafeSnapshot(), model).map(({ info }) => {
      const isSplit = info.models.some(({ id, stages }) => id === model && stages !== undefined)
      const figures = performance.of({ peer: info.id, model, mode: isSplit ? "split" : "solo" })
      return figures && { ttftMs: figures.ttftMs.p50, tokensPerSecond: figures.tokensPerSecond?.p50 }
    })

  const judge = (model: string, measured: ReadonlyArray<Gate.Measured | undefined>): Judged => {
    const verdict = Gate.verdict(tierOf(tiers, model), measured)
    return { ...verdict, headers: VerdictHeaders.ofVerdict(verdict) }
  }

  return Sla.of({
    verdict: (model) => {
      const nowMs = clock.unsafeCurrentTimeMillis()
      const known = kept.get(model)
      if (known !== undefined && Math.abs(nowMs - known.atMs) < freshMs) return known.judged
      const judged = judge(model, candidates(model))
      // a peer that comes is noticed at once, and names that nobody serves take no room
      if (judged.candidates === 0) kept.delete(model)
      else {
        if (kept.size >= keptMax) kept.clear()
        kept.set(model, { judged, atMs: nowMs })
      }
      return judged
    },
    withoutPeer: (model) => judge(model, [])
  })
})
