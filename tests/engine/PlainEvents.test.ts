/** The cheap checks of the most frequent events against the schemas they stand in for. */
import { expect } from "bun:test"
import { HostEvent } from "@weft/engine/EngineProtocol"
import { GenerateEvent } from "@weft/engine/Generation"
import { isPlainDelta, isPlainTurn } from "@weft/engine/PlainEvents"
import { Effect, FastCheck, Option, Schema } from "effect"
import { it } from "../support/effect.ts"

const decode = Schema.decodeUnknownOption(GenerateEvent)
const decodeHost = Schema.decodeUnknownOption(HostEvent)

/** Values that are nearly a piece of an answer: fields are right, wrong, missing or too many. */
const nearly = FastCheck.record(
  {
    _tag: FastCheck.constantFrom<unknown>("Delta", "Started", "", 1, undefined),
    text: FastCheck.oneof(FastCheck.fullUnicodeString(), FastCheck.anything()),
    tokens: FastCheck.oneof(
      FastCheck.array(FastCheck.maxSafeInteger()),
      FastCheck.array(FastCheck.oneof(FastCheck.integer(), FastCheck.double(), FastCheck.anything())),
      FastCheck.anything()
    ),
    more: FastCheck.anything()
  },
  { requiredKeys: [] }
)

it.prop(
  "what passes is exactly what the schema gives back",
  FastCheck.oneof({ weight: 9, arbitrary: nearly }, { weight: 1, arbitrary: FastCheck.anything() }),
  (value) =>
    Effect.sync(() => {
      if (isPlainDelta(value)) expect(decode(value)).toEqual(Option.some(value))
    }),
  { runs: 5_000 }
)

it.prop(
  "every piece of an answer passes",
  FastCheck.record({
    _tag: FastCheck.constant("Delta" as const),
    text: FastCheck.fullUnicodeString(),
    tokens: FastCheck.array(FastCheck.maxSafeInteger())
  }),
  (delta) => Effect.sync(() => expect(isPlainDelta(delta)).toBe(true))
)

const piece = FastCheck.record({
  _tag: FastCheck.constant("Delta" as const),
  text: FastCheck.string(),
  tokens: FastCheck.array(FastCheck.nat())
})

/** Turns that are nearly plain. */
const nearlyTurn = FastCheck.record(
  {
    _tag: FastCheck.constantFrom<unknown>("Turn", "Turn", "Ready"),
    decodeSeconds: FastCheck.oneof(FastCheck.double({ min: 0 }), FastCheck.double(), FastCheck.anything()),
    cancelled: FastCheck.oneof(FastCheck.constant([]), FastCheck.array(FastCheck.integer())),
    events: FastCheck.array(
      FastCheck.oneof(
        FastCheck.tuple(FastCheck.nat(), piece),
        FastCheck.tuple(FastCheck.integer(), nearly),
        FastCheck.anything()
      )
    )
  },
  { requiredKeys: [] }
)

it.prop(
  "a turn that passes is exactly what the schema gives back",
  nearlyTurn,
  (value) =>
    Effect.sync(() => {
      if (isPlainTurn(value)) expect(decodeHost(value)).toEqual(Option.some(value))
    }),
  { runs: 5_000 }
)

it.prop(
  "every turn of running answers passes",
  FastCheck.record({
    _tag: FastCheck.constant("Turn" as const),
    decodeSeconds: FastCheck.double({ min: 0, noNaN: true }),
    cancelled: FastCheck.constant([]),
    events: FastCheck.array(FastCheck.tuple(FastCheck.nat(), piece))
  }),
  (turn) => Effect.sync(() => expect(isPlainTurn(turn)).toBe(true))
)
