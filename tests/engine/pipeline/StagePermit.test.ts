/** The entry's permits: good for exactly what was signed, for a short time, and for nothing that differs in a word. */
import { expect } from "bun:test"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import { Identity } from "@weft/mesh/Identity"
import { Context, Effect, FastCheck, Layer, Schema } from "effect"
import { peerId } from "../../mesh/peers.ts"
import { it } from "../../support/effect.ts"

const identity = Effect.map(Layer.build(Identity.layerEphemeral), (context) => Context.get(context, Identity))
const now = 1_800_000_000_000
const permitted = { group: "a".repeat(32), host: peerId(1), model: { sha256: "b".repeat(64) }, peer: peerId(2) }
const range = { from: 3, to: 6 }

it.effect("a permit is good until its time is over, for as many layers and for the entry that signed it", () =>
  Effect.gen(function* () {
    const [entry, other] = [yield* identity, yield* identity]
    const permit = StagePermit.sign(entry, permitted, 3, now)
    const reservation = { ...permitted, ...range, permit }
    const refusal = (
      changes: Partial<StagePermit.Reservation>,
      atMs = now,
      by: typeof entry.id | undefined = entry.id
    ) => StagePermit.refusalOf({ ...reservation, ...changes }, by, atMs)
    expect(refusal({})).toBeUndefined()
    expect(refusal({ from: 0, to: 3 }, now + StagePermit.validityMs)).toBeUndefined()
    expect(refusal({}, now + StagePermit.validityMs + 60_000)).toContain("time is over")
    expect(refusal({ from: 2 })).toContain("more than 3 layers")
    expect(refusal({}, now, other.id)).toContain("not signed")
    expect(StagePermit.refusalOf(reservation, undefined, now)).toContain("no entry")
  })
)

it.effect("a permit that was forged, changed, or made for another group, host, peer or model is none", () =>
  Effect.gen(function* () {
    const [entry, host] = [yield* identity, yield* identity]
    const permit = StagePermit.sign(entry, permitted, 3, now)
    const strangers: ReadonlyArray<Partial<StagePermit.Reservation>> = [
      { group: "c".repeat(32) },
      { host: peerId(3) },
      { peer: peerId(3) },
      { model: { sha256: "c".repeat(64) } },
      { permit: { ...permit, layersMax: 100 } },
      { permit: { ...permit, expiresAtMs: permit.expiresAtMs + 1 } },
      { permit: StagePermit.sign(host, permitted, 3, now) }
    ]
    for (const stranger of strangers)
      expect(StagePermit.refusalOf({ ...permitted, ...range, permit, ...stranger }, entry.id, now)).toContain(
        "not signed"
      )
  })
)

it.prop(
  "whatever bytes stand for a signature, only the entry's are taken",
  FastCheck.uint8Array({ minLength: 64, maxLength: 64 }),
  (signature) =>
    Effect.gen(function* () {
      const entry = yield* identity
      const permit = Schema.decodeUnknownSync(StagePermit.StagePermit)({
        ...StagePermit.sign(entry, permitted, 3, now),
        signature
      })
      expect(StagePermit.refusalOf({ ...permitted, ...range, permit }, entry.id, now)).toContain("not signed")
    })
)
