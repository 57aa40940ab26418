/**
 * The list of keys: what is parsed, what is refused without showing a secret, and how secrets are made and compared.
 */
import { expect } from "bun:test"
import * as ApiKeys from "@weft/entry/ApiKeys"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const secret = "a-secret-of-20-chars"
const hash = ApiKeys.hashOf(secret)
const parsed = (list: string) => Either.getOrThrow(ApiKeys.parseList(list))

it.effect("a list gives names, limits and hashes, and keeps no secret", () =>
  Effect.sync(() => {
    const [one, two, three] = parsed(
      `ann:${secret}, bob:${secret}2:60:1000 ,eve:sha256:${hash.toUpperCase()}:5`.replace(
        hash.toUpperCase(),
        "CD".repeat(32)
      )
    )
    expect(one).toEqual({
      name: "ann",
      hash,
      prefix: "a-secret",
      last4: "hars",
      requestsPerMinute: null,
      tokensPerMinute: null,
      region: null,
      trust: null
    })
    expect(two).toMatchObject({ name: "bob", requestsPerMinute: 60, tokensPerMinute: 1000 })
    expect(three).toMatchObject({
      name: "eve",
      hash: "cd".repeat(32),
      last4: "",
      requestsPerMinute: 5,
      tokensPerMinute: null
    })
    expect(JSON.stringify([one, two, three])).not.toContain(secret)
    expect(parsed("")).toEqual([])
    expect(parsed(" , ,")).toEqual([])
  })
)

it.effect("a key may require labels of its peers, with limits or without, whatever its secret ends with", () =>
  Effect.sync(() => {
    const lists = [
      [`ann:${secret}:region=eu-west`, { region: "eu-west", trust: null, requestsPerMinute: null }],
      [`ann:${secret}==:60:trust=staff`, { region: null, trust: "staff", requestsPerMinute: 60, last4: "rs==" }],
      [`ann:${secret}:60:1000:trust=staff:region=eu`, { region: "eu", trust: "staff", tokensPerMinute: 1000 }],
      [`ann:sha256:${hash}::5:region=eu`, { hash, region: "eu", tokensPerMinute: 5 }]
    ] as const
    for (const [list, key] of lists) expect([list, parsed(list)]).toMatchObject([list, [key]])
    expect(parsed(`ann:${secret}:region=eu,bob:${secret}2`).map(ApiKeys.labelsOf)).toEqual([{ region: "eu" }, {}])
  })
)

it.effect("what is no key is refused with its place and never with its secret", () =>
  Effect.sync(() => {
    const wrong = [
      "ann",
      `:${secret}`,
      `a b:${secret}`,
      `${"n".repeat(65)}:${secret}`,
      "ann:",
      "ann:short",
      `ann:${secret}:x`,
      `ann:${secret}:0`,
      `ann:${secret}:1.5`,
      `ann:${secret}:1:2:3`,
      `ann:${secret}:region=EU`,
      `ann:${secret}:region=`,
      `ann:${secret}:region=eu:region=us`,
      `ann:${secret}:colour=blue`,
      `ann:${secret}:trust=staff:60`,
      `ann:${secret}:trust=${"a".repeat(33)}`,
      `ann:${secret} ${secret}`,
      "ann:sha256:abc",
      `ann:sha256:${"g".repeat(64)}`,
      `ann:${secret},ann:${secret}2`,
      `ann:${secret},bob:${secret}`
    ]
    for (const list of wrong) {
      const error = Either.getOrThrow(Either.flip(ApiKeys.parseList(list)))
      expect([list, error.message]).toEqual([list, expect.stringMatching(/^WEFT_API_KEYS, key [12]: /)])
      expect(error.message).not.toContain(secret)
    }
  })
)

it.effect("made secrets differ, are long, and are found in any spelling of the header", () =>
  Effect.sync(() => {
    const made = Array.from({ length: 100 }, ApiKeys.makeSecret)
    expect(new Set(made).size).toBe(100)
    for (const one of made) expect(one).toMatch(/^weft-[A-Za-z0-9_-]{43}$/)
    for (const header of [`Bearer ${secret}`, `bearer  ${secret} `, `BEARER ${secret}`]) {
      expect(ApiKeys.presented(header)).toBe(secret)
    }
    for (const header of [undefined, "", "Bearer", "Bearer ", `Basic ${secret}`, secret, `Bearer ${secret} x`]) {
      expect(ApiKeys.presented(header)).toBeUndefined()
    }
  })
)

it.prop(
  "equal hashes are the same and others are not",
  FastCheck.tuple(FastCheck.string(), FastCheck.string()),
  ([a, b]) => Effect.sync(() => expect(ApiKeys.isSameHash(ApiKeys.hashOf(a), ApiKeys.hashOf(b))).toBe(a === b))
)

it.prop("any text parses to keys or an error, quickly", FastCheck.string({ maxLength: 500 }), (text) =>
  Effect.sync(() => expect(Either.isEither(ApiKeys.parseList(text))).toBe(true))
)
