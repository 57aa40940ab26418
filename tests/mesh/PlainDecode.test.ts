/** The compiled check against the schemas it stands in for: same verdict and value, for messages and near misses. */
import { expect } from "bun:test"
import { HostCommand, HostEvent } from "@weft/engine/EngineProtocol"
import { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { StreamHeader } from "@weft/mesh/Link"
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Arbitrary, Effect, Either, FastCheck, ParseResult, Schema } from "effect"
import { it } from "../support/effect.ts"

/** Shapes that the messages do not have: tuples with a rest, unions of alike records, refinements of refinements. */
const Odd = Schema.Struct({
  pair: Schema.Tuple([Schema.String, Schema.Number], Schema.Int),
  either: Schema.Union(
    Schema.Struct({ a: Schema.Int }),
    Schema.Struct({ a: Schema.Int, b: Schema.optional(Schema.String) })
  ),
  narrow: Schema.Int.pipe(Schema.between(0, 9), Schema.multipleOf(3)),
  tagged: Schema.Union(Schema.TaggedStruct("A", { a: Schema.Int }), Schema.TaggedStruct("B", { a: Schema.Int })),
  few: Schema.Array(Schema.Union(Schema.Literal("x", 1, true, null), Schema.Undefined)).pipe(Schema.maxItems(3))
})

/** Changes one place of a value: leaves it out, or puts something else there, or adds a field. */
const damaged = (value: unknown, path: ReadonlyArray<number>, by: unknown): unknown => {
  const [first, ...rest] = path
  if (first === undefined || typeof value !== "object" || value === null) return by
  const entries = Object.entries(value)
  const at = first % (entries.length + 2)
  if (at === entries.length) return Array.isArray(value) ? [...value, by] : { ...value, extra: by }
  if (at > entries.length) return Array.isArray(value) ? value.slice(1) : Object.fromEntries(entries.slice(1))
  const changed = entries.map(([name, field], index) => [name, index === at ? damaged(field, rest, by) : field])
  return Array.isArray(value) ? changed.map(([, field]) => field) : Object.fromEntries(changed)
}

for (const [name, schema] of [
  ["stream header", StreamHeader],
  ["request", GenerateRequest],
  ["event of an answer", GenerateEvent],
  ["command to a host", HostCommand],
  ["event of a host", HostEvent],
  ["odd shape", Odd]
] as ReadonlyArray<readonly [string, Schema.Schema<unknown>]>) {
  const decode = PlainDecode.decoder(schema)
  // The reference throws at some tags; whoever decodes what strangers send must not.
  const reference = (value: unknown) =>
    Either.flatMap(
      Either.try(() => ParseResult.decodeUnknownEither(schema)(value)),
      (decoded): Either.Either<unknown, unknown> => decoded
    )
  const isSame = (value: unknown): void => {
    const [ours, theirs] = [decode(value), reference(value)]
    expect(Either.isRight(ours)).toBe(Either.isRight(theirs))
    if (Either.isRight(ours) && Either.isRight(theirs)) expect(ours.right).toEqual(theirs.right)
  }

  it.prop(
    `every ${name} is decoded as its schema decodes it, and so is one with something wrong in it`,
    FastCheck.tuple(
      Arbitrary.make(schema),
      FastCheck.array(FastCheck.nat(12), { maxLength: 5 }),
      FastCheck.oneof(FastCheck.anything(), FastCheck.constantFrom(-1, 1.5, Number.NaN, "", null, [], {}))
    ),
    ([value, path, by]) =>
      Effect.sync(() => {
        isSame(value)
        isSame(damaged(value, path, by))
      }),
    { runs: 1_000 }
  )
}

it.effect("a tag that is no text and cannot be made one is a mismatch, not a crash", () =>
  Effect.sync(() => {
    for (const tag of [{ toString: false }, { toString: false, valueOf: false }, [{ toString: 1 }]]) {
      for (const schema of [GenerateEvent, HostEvent, HostCommand] as ReadonlyArray<Schema.Schema<unknown>>) {
        const decoded = PlainDecode.decoder(schema)({ _tag: tag })
        expect(Either.isLeft(decoded)).toBe(true)
        if (Either.isLeft(decoded)) expect(ParseResult.TreeFormatter.formatIssueSync(decoded.left)).toBeString()
      }
    }
  })
)
