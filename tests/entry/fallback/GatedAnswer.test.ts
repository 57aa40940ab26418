/** The gate over real HTTP: forced to each status, headers and who answers are as documented, counted once. */
import { expect } from "bun:test"
import { type Measured, slaStatuses } from "@weft/entry/sla/Gate"
import { names } from "@weft/entry/sla/VerdictHeaders"
import { Effect } from "effect"
import { counted } from "../../mesh/links.ts"
import { it } from "../../support/effect.ts"
import { hello, open, answering as peer, post } from "../support.ts"
import { answering, gated, slow, tiers, weftHeaders } from "./gated.ts"
import { streaming, usual } from "./provider.ts"

const forced: Readonly<Record<(typeof slaStatuses)[number], ReadonlyArray<Measured | undefined>>> = {
  "meets-sla": [{ ttftMs: 100, tokensPerSecond: 20 }, undefined],
  "no-peer-with-model": [],
  "no-measurements": [undefined],
  "ttft-too-high": [{ ttftMs: 3_500, tokensPerSecond: 20 }],
  "tps-too-low": [{ ttftMs: 100, tokensPerSecond: 2.04 }],
  "both-too-low": slow
}

it.live("with the gate forced to each status every answer says it, streaming or not, mesh or provider", () =>
  Effect.gen(function* () {
    for (const status of slaStatuses) {
      const [best] = forced[status]
      const { chat } = yield* gated(answering, { measured: () => forced[status] })
      const mesh = yield* open({ measured: () => forced[status], config: { tiers } })
      const expected = {
        "sla-status": status,
        "sla-tier": "daily-driver",
        "sla-candidates": String(forced[status].length),
        ...(best && { "sla-best-ttft-ms": String(best.ttftMs) }),
        ...(best?.tokensPerSecond && { "sla-best-tps": best.tokensPerSecond.toFixed(1) })
      }
      const byMesh = { "served-by": peer, route: "mesh:solo" }
      const isMet = status === "meets-sla"
      for (const stream of [false, true]) {
        const there = yield* post(chat, { ...hello, stream })
        expect(there.status).toBe(200)
        expect(weftHeaders(there.headers)).toEqual({
          ...expected,
          ...(isMet ? byMesh : { "served-by": "fallback", route: "fallback" }),
          "fallback-status": isMet ? "not-needed" : "served"
        })
        expect(there.text).toContain(isMet ? "one" : "afar")
        const here = yield* post(`${mesh.url}/v1/chat/completions`, { ...hello, stream })
        expect(weftHeaders(here.headers)).toEqual({
          ...expected,
          ...byMesh,
          "fallback-status": isMet ? "not-needed" : "fallback-disabled"
        })
        const exposed = here.headers.get("access-control-expose-headers")?.split(", ") ?? []
        expect(names.filter((name) => !exposed.includes(name))).toEqual([])
      }
    }
  })
)

it.live("errors of the mesh carry the verdict too, and nobody as who served", () =>
  Effect.gen(function* () {
    const door = yield* open({ config: { tiers }, measured: () => slow })
    for (const [model, status] of [
      ["gone", 503],
      ["busy", 503],
      ["plain", 502]
    ] as const) {
      const messages = [{ role: "user", content: "FAIL internal" }]
      const answer = yield* post(`${door.url}/v1/chat/completions`, { model, messages })
      expect([model, answer.status]).toEqual([model, status])
      const isGone = model === "gone"
      expect(weftHeaders(answer.headers)).toMatchObject({
        "sla-status": isGone ? "no-peer-with-model" : "both-too-low",
        "served-by": model === "plain" ? peer : "none",
        route: model === "plain" ? "mesh:solo" : "none",
        "fallback-status": "fallback-disabled"
      })
      expect(answer.headers.has("x-weft-sla-best-tps")).toBe(!isGone)
    }
    const unknown = yield* post(`${door.url}/v1/chat/completions`, { ...hello, model: "nowhere" })
    expect(unknown.status).toBe(404)
    expect(weftHeaders(unknown.headers)).toMatchObject({ "sla-tier": "experimental", "served-by": "none" })
  })
)

it.live("what may not go to the provider stays on the mesh and says why", () =>
  Effect.gen(function* () {
    const { chat, door, provider } = yield* gated(answering, {}, { perAddressHour: 2 })
    const status = (headers: Headers) => headers.get("x-weft-fallback-status")
    const other = yield* post(chat, { ...hello, model: "org/tiny:Q4_K_M" })
    expect([status(other.headers), other.headers.get("x-weft-sla-tier")]).toEqual(["not-needed", "experimental"])
    const exact = yield* post(chat, hello, { "x-weft-profile": "exact" })
    const trusted = yield* post(chat, hello, { "x-weft-trust": "verified" })
    const tokens = yield* post(`${door.url}/v1/completions`, { model: "plain", prompt: [1, 2] })
    for (const { headers } of [exact, trusted, tokens]) expect(status(headers)).toBe("request-not-portable")
    expect(provider.asked).toEqual([])
    const told: Array<string | null> = []
    for (let count = 0; count < 4; count++) told.push(status((yield* post(chat, hello)).headers))
    expect(told).toEqual(["served", "served", "budget-exhausted", "budget-exhausted"])

    const unmapped = yield* gated(answering, {}, { models: new Map() })
    expect(status((yield* post(unmapped.chat, hello)).headers)).toBe("model-not-mapped")
    const disallowed = yield* gated(answering, {}, { tiers: new Set(["capacity"]) })
    expect(status((yield* post(disallowed.chat, hello)).headers)).toBe("tier-not-allowed")
    expect([...unmapped.provider.asked, ...disallowed.provider.asked]).toEqual([])
  })
)

it.live("the budget is the socket's address', and another's only where the operator trusts the proxy in front", () =>
  Effect.gen(function* () {
    const from = (address: string) => ({ "x-forwarded-for": `6.6.6.6, ${address}` })
    const statuses = (chat: string, addresses: ReadonlyArray<string>) =>
      Effect.forEach(addresses, (address) =>
        Effect.map(post(chat, hello, from(address)), ({ headers }) => headers.get("x-weft-fallback-status"))
      )
    const addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    const alone = yield* gated(answering, {}, { perAddressHour: 1 })
    expect(yield* statuses(alone.chat, addresses)).toEqual(["served", "budget-exhausted", "budget-exhausted"])
    const behind = yield* gated(answering, { config: { trustedProxy: true } }, { perAddressHour: 1 })
    expect(yield* statuses(behind.chat, addresses)).toEqual(["served", "served", "budget-exhausted"])
  })
)

it.live("where the peers are gone since the verdict, the provider answers; without one the error says so", () =>
  Effect.gen(function* () {
    const measured = () => forced["meets-sla"]
    const mapped = { hasAllModels: true }
    const { chat } = yield* gated(answering, { measured }, mapped)
    const answer = yield* post(chat, { ...hello, model: "gone" })
    expect([answer.status, answer.json.choices[0].message.content]).toEqual([200, "Hello from afar"])
    const told = weftHeaders(answer.headers)
    expect(told).toMatchObject({ "sla-status": "no-peer-with-model", "fallback-status": "served", route: "fallback" })
    expect(told).not.toHaveProperty("sla-best-tps")
    const busy = yield* post(chat, { ...hello, model: "busy" })
    expect([busy.status, weftHeaders(busy.headers)["fallback-status"]]).toEqual([503, "not-needed"])
  })
)

it.live("each request counts once: its verdict, its result, who served it", () =>
  Effect.gen(function* () {
    const { chat, door } = yield* gated(
      () =>
        ({ body }) =>
          JSON.stringify(body).includes("bad") ? new Response("", { status: 500 }) : streaming(usual)
    )
    const figures = Effect.all({
      verdicts: counted("weft_sla_verdicts_total"),
      both: counted("weft_sla_verdicts_total", { tier: "daily-driver", status: "both-too-low" }),
      results: counted("weft_fallback_total"),
      served: counted("weft_fallback_total", { result: "served" }),
      failed: counted("weft_fallback_total", { result: "failed" }),
      refusals: counted("weft_fallback_failures_total", { reason: "status" })
    })
    const before = yield* figures
    yield* post(chat, hello)
    yield* post(chat, { ...hello, stream: true })
    yield* post(chat, { ...hello, messages: [{ role: "user", content: "bad" }] })
    yield* post(chat, { ...hello, messages: [{ role: "user", content: "bad FAIL internal" }] })
    const after = yield* figures
    const rise = Object.entries(after).map(([name, value]) => [name, value - Reflect.get(before, name)])
    expect(Object.fromEntries(rise)).toEqual({ verdicts: 4, both: 4, results: 4, served: 2, failed: 2, refusals: 2 })
    const { day } = yield* door.share.summary
    expect(day).toEqual({ requests: 4, mesh: 1, fallback: 2, refused: 1, mesh_share_pct: 100 / 3 })
    expect(yield* counted("weft_served_total", { model: "plain", served_by: "fallback" })).toBe(2)
    expect(yield* counted("weft_mesh_share_ratio", { window: "24h" })).toBeCloseTo(1 / 3)
  })
)
