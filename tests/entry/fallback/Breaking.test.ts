/** A provider that fails, over real HTTP: a few wait for it, the next go to the mesh at once, one tries it. */
import { expect } from "bun:test"
import { freePort } from "@weft/infra/wan/FreePort"
import { type Clock, Duration, Effect } from "effect"
import { counted } from "../../mesh/links.ts"
import { it } from "../../support/effect.ts"
import { hello, post } from "../support.ts"
import { gated, weftHeaders } from "./gated.ts"
import { type Behaviour, streaming, usual } from "./provider.ts"

/** Waits are short, so that a test is; what is slow is seen by the clock that the test moves. */
const hasty = { firstByte: Duration.millis(300), idle: Duration.millis(600) }

/** The real clock, which the test may set forward. */
const movable = Effect.map(Effect.clock, (clock) => {
  let aheadMs = 0
  const nowMs = () => clock.unsafeCurrentTimeMillis() + aheadMs
  const moved: Clock.Clock = Object.assign(Object.create(clock), {
    unsafeCurrentTimeMillis: nowMs,
    currentTimeMillis: Effect.sync(nowMs)
  })
  const forward = (ms: number): void => {
    aheadMs += ms
  }
  return { clock: moved, forward }
})

const told = (chat: string, count: number, body: object = hello) =>
  Effect.map(
    Effect.all(
      Array.from({ length: count }, () => post(chat, body)),
      { concurrency: "unbounded" }
    ),
    (answers) => answers.map(({ headers, status }) => [status, headers.get("x-weft-fallback-status")] as const)
  )

const times = (count: number, status: string): Array<readonly [number, string | null]> =>
  Array.from({ length: count }, () => [200, status] as const)

const figures = Effect.all({
  closed: counted("weft_fallback_breaker_state", { state: "closed" }),
  open: counted("weft_fallback_breaker_state", { state: "open" }),
  halfOpen: counted("weft_fallback_breaker_state", { state: "half-open" }),
  opened: counted("weft_fallback_breaker_opened_total"),
  kept: counted("weft_fallback_total", { result: "breaker-open" })
})

it.live("a provider that hangs is waited for three times, then left alone, tried by one request, and asked again", () =>
  Effect.gen(function* () {
    const { clock, forward } = yield* movable
    let hangs = true
    const behaviour = () => () => (hangs ? new Promise<Response>(() => {}) : streaming(usual))
    const { chat, provider } = yield* Effect.withClock(gated(behaviour, { fallbackLimits: hasty }), clock)
    const before = yield* figures
    expect(before).toMatchObject({ closed: 1, open: 0, halfOpen: 0 })
    expect(yield* told(chat, 3)).toEqual(times(3, "failed"))
    expect(provider.asked.length).toBe(3)
    const open = yield* post(chat, { ...hello, stream: true })
    expect(weftHeaders(open.headers)).toMatchObject({ "fallback-status": "breaker-open", route: "mesh:solo" })
    expect(open.text).toContain("[DONE]")
    expect(yield* told(chat, 20)).toEqual(times(20, "breaker-open"))
    expect(provider.asked.length).toBe(3)
    expect(yield* figures).toEqual({
      closed: 0,
      open: 1,
      halfOpen: 0,
      opened: before.opened + 1,
      kept: before.kept + 21
    })

    // one waits in vain for each pause, which doubles
    for (const pauseMs of [5_000, 10_000]) {
      forward(pauseMs / 2)
      expect(yield* told(chat, 1)).toEqual(times(1, "breaker-open"))
      forward(pauseMs / 2)
      const answers = yield* told(chat, 10)
      expect(answers.toSorted()).toEqual([...times(9, "breaker-open"), ...times(1, "failed")])
    }
    expect(provider.asked.length).toBe(5)

    hangs = false
    forward(20_000)
    expect((yield* told(chat, 10)).filter(([, status]) => status === "served").length).toBeGreaterThan(0)
    expect(yield* told(chat, 10)).toEqual(times(10, "served"))
    expect(yield* figures).toMatchObject({ closed: 1, open: 0, halfOpen: 0, opened: before.opened + 3 })
  })
)

it.live("an attempt that does not reach the provider costs no budget, nor does one while it is left alone", () =>
  Effect.gen(function* () {
    const { clock, forward } = yield* movable
    const port = yield* freePort
    const changes = { url: `http://127.0.0.1:${port}/base/v1`, perAddressHour: 2 }
    const { chat } = yield* Effect.withClock(
      gated(() => () => streaming(usual), {}, changes),
      clock
    )
    expect(yield* told(chat, 1)).toEqual(times(1, "failed"))
    expect(yield* told(chat, 1)).toEqual(times(1, "failed"))
    expect(yield* told(chat, 1)).toEqual(times(1, "failed"))
    expect(yield* told(chat, 5)).toEqual(times(5, "breaker-open"))
    yield* Effect.acquireRelease(
      Effect.sync(() => Bun.serve({ port, hostname: "127.0.0.1", fetch: () => streaming(usual) })),
      (server) => Effect.promise(() => server.stop(true))
    )
    forward(5_000)
    expect([...(yield* told(chat, 1)), ...(yield* told(chat, 1))]).toEqual(times(2, "served"))
    expect(yield* told(chat, 1)).toEqual(times(1, "budget-exhausted"))
  })
)

it.live("requests that the provider rejects tell nothing of it: whoever sends them keeps nobody else from it", () =>
  Effect.gen(function* () {
    const behaviour =
      (): Behaviour =>
      ({ body }) =>
        JSON.stringify(body).includes("too long")
          ? Response.json({ error: { message: "context" } }, { status: 400 })
          : JSON.stringify(body).includes("stops at once")
            ? streaming(usual.filter((event) => !event.includes("Hello") && !event.includes("afar")))
            : streaming(usual)
    const { chat } = yield* gated(behaviour, { fallbackLimits: hasty })
    for (const content of ["too long", "stops at once"]) {
      const body = { ...hello, messages: [{ role: "user", content }] }
      expect(yield* told(chat, 6, body)).toEqual(times(6, "failed"))
      expect(yield* told(chat, 2)).toEqual(times(2, "served"))
    }
  })
)

it.live("whatever else the provider does wrong opens it as well", () =>
  Effect.gen(function* () {
    const wrongs: Readonly<Record<string, () => Response>> = {
      "no key": () => Response.json({}, { status: 401 }),
      "too many": () => Response.json({}, { status: 429 }),
      broken: () => new Response("", { status: 502 }),
      garbage: () => streaming(["data: {\n\n"]),
      silence: () => streaming([usual[0], undefined]),
      "an error": () => streaming([`data: {"error":{"message":"no"}}\n\n`])
    }
    for (const [what, wrong] of Object.entries(wrongs)) {
      const { chat } = yield* gated(() => wrong, { fallbackLimits: hasty })
      expect([what, yield* told(chat, 3)]).toEqual([what, times(3, "failed")])
      expect([what, yield* told(chat, 3)]).toEqual([what, times(3, "breaker-open")])
    }
  })
)
