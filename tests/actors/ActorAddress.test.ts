/** Addresses: one way to write each, equal when their fields are. */
import { expect, test } from "bun:test"
import { ActorAddress, FromString, parse } from "@weft/actors/ActorAddress"
import { Arbitrary, Effect, Either, Equal, FastCheck, Hash, Schema } from "effect"
import { it } from "../support/effect.ts"

const addresses = Arbitrary.make(ActorAddress)

it.prop("parse(toString(address)) is the address, with the same hash", addresses, (address) =>
  Effect.gen(function* () {
    const parsed = yield* parse(address.toString())
    expect(Equal.equals(parsed, address)).toBe(true)
    expect(Hash.hash(parsed)).toBe(Hash.hash(address))
    expect(Schema.encodeSync(FromString)(parsed)).toBe(address.toString())
  })
)

it.prop("different addresses are written differently", FastCheck.tuple(addresses, addresses), ([one, other]) =>
  Effect.sync(() => expect(one.toString() === other.toString()).toBe(Equal.equals(one, other)))
)

it.prop("whatever text parse takes, toString gives back", FastCheck.string(), (text) =>
  Effect.sync(() => {
    for (const candidate of [text, `peer/kind/${text}`, `${text}/kind/id`, `peer/${text}/id`]) {
      const parsed = parse(candidate)
      if (Either.isRight(parsed)) expect(parsed.right.toString()).toBe(candidate)
    }
  })
)

test("an id may hold a slash, a peer may not", () => {
  expect(parse("p/stage/org/model:q4")).toEqual(
    Either.right(new ActorAddress({ peer: "p", kind: "stage", id: "org/model:q4" }))
  )
})

test("what is no address is refused", () => {
  const long = "x".repeat(300)
  for (const text of [
    "",
    "p",
    "p/k",
    "p/k/",
    "/k/i",
    "p//i",
    "p/1k/i",
    "p/k/a b",
    "p/k/é",
    "p\n/k/i",
    `${long}/k/i`,
    `p/k/${long}`
  ]) {
    expect(Either.isLeft(parse(text))).toBe(true)
  }
})
