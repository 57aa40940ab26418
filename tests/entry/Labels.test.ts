/** Labels over real HTTP: what is asked for and required reaches the mesh, and what is no label is refused. */
import { expect } from "bun:test"
import { parseList } from "@weft/entry/ApiKeys"
import { NoAnswer } from "@weft/entry/Inference"
import { fromNoAnswer } from "@weft/entry/OpenAiError"
import { Effect, Either, Fiber } from "effect"
import { it } from "../support/effect.ts"
import { hello, open, post } from "./support.ts"

const secret = "a-secret-of-20-chars"
const events = [
  { _tag: "Started", promptTokens: 1, seed: 1 },
  { _tag: "Finished", finishReason: "stop", usage: { promptTokens: 1, completionTokens: 0, cachedTokens: 0 } }
] as const

/** Asks with these headers; returns the labels that reached the mesh, and the response. */
const askedOf = (apiKeys: string, headers: Record<string, string>) =>
  Effect.gen(function* () {
    const config = { apiKeys: Either.getOrThrow(parseList(apiKeys)) }
    const { turn, url } = yield* open({ answers: "hand", config })
    const asking = yield* Effect.fork(post(`${url}/v1/chat/completions`, hello, headers))
    const next = yield* Effect.raceFirst(
      Effect.map(turn, (turn) => ({ turn })),
      Effect.as(Fiber.join(asking), undefined)
    )
    if (next !== undefined) yield* next.turn.send(...events)
    return { labels: next?.turn.asker.labels, response: yield* Fiber.join(asking) }
  })
const bearer = { authorization: `Bearer ${secret}` }

it.live("the labels of the headers are asked for, and the response says by which route it came", () =>
  Effect.gen(function* () {
    const { labels, response } = yield* askedOf("", { "x-weft-region": "eu-west", "x-weft-trust": "staff" })
    expect([labels, response.status]).toEqual([{ region: "eu-west", trust: "staff" }, 200])
    expect(response.headers.get("x-weft-route")).toBe("mesh:solo")
    expect((yield* askedOf("", {})).labels).toEqual({})
  })
)

it.live("what is no label is a 400 that names its header", () =>
  Effect.gen(function* () {
    for (const wrong of ["", "EU", "eu_west", "a".repeat(33), "eu west", "eu,us"]) {
      for (const header of ["x-weft-region", "x-weft-trust"]) {
        const { labels, response } = yield* askedOf("", { [header]: wrong })
        expect([wrong, labels, response.status]).toEqual([wrong, undefined, 400])
        expect(response.json).toMatchObject({ error: { param: header, type: "invalid_request_error" } })
      }
    }
  })
)

it.live("a key's labels are required whatever is asked, others may be added, and none be changed", () =>
  Effect.gen(function* () {
    const keys = `ann:${secret}:trust=staff`
    expect((yield* askedOf(keys, bearer)).labels).toEqual({ trust: "staff" })
    const both = { trust: "staff", region: "eu" }
    expect((yield* askedOf(keys, { ...bearer, "x-weft-region": "eu" })).labels).toEqual(both)
    expect((yield* askedOf(keys, { ...bearer, "x-weft-trust": "staff" })).labels).toEqual({ trust: "staff" })
    const { labels, response } = yield* askedOf(keys, { ...bearer, "x-weft-trust": "public" })
    expect([labels, response.status]).toEqual([undefined, 400])
    expect(response.text).toContain("requires the trust 'staff'")
  })
)

it.effect("nobody with a label is a 503 that names it", () =>
  Effect.sync(() => {
    const refused = fromNoAnswer(new NoAnswer({ reason: "NoPeer", model: "tiny", label: "region 'mars'" }))
    expect([refused.status, refused.code]).toEqual([503, "no_peer"])
    expect(refused.message).toContain("carries the region 'mars'")
  })
)
