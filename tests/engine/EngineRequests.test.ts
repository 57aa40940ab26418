/** The open requests of an engine against a host that only notes what it is told, and against one that lies. */
import { describe, expect, test } from "bun:test"
import type { HostCommand, HostEvent } from "@weft/engine/EngineProtocol"
import * as EngineRequests from "@weft/engine/EngineRequests"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Effect, FastCheck, Mailbox } from "effect"
import { it } from "../support/effect.ts"
import { ask, gather, into } from "./asking.ts"

type Turn = Extract<HostEvent, { readonly _tag: "Turn" }>
const turn = (events: Turn["events"], cancelled: Turn["cancelled"] = []): Turn => ({ _tag: "Turn", events, cancelled })

const started: GenerateEvent = { _tag: "Started", promptTokens: 3, seed: 1 }
const delta = (count: number): GenerateEvent => ({ _tag: "Delta", text: "x", tokens: Array(count).fill(5) })
const usage = { promptTokens: 3, completionTokens: 1, cachedTokens: 0 }
const finished: GenerateEvent = { _tag: "Finished", finishReason: "stop", usage }

const limits = { slots: 2, queuedMax: 3, contextTokens: 16 }

/** Requests with a host that only notes what it is told. */
const make = () => {
  const commands: Array<HostCommand> = []
  const tokens = { prompt: 0, completion: 0 }
  const requests = EngineRequests.make(limits, {
    onCounts: () => {},
    onTokens: (kind, count) => {
      tokens[kind] += count
    }
  })
  const open = Effect.map(Mailbox.make<GenerateEvent>(), (mailbox) => ({
    mailbox,
    key: requests.open(ask("hello"), into(mailbox))
  }))
  const attach = () => requests.attach((command) => commands.push(command) > 0)
  return { requests, commands, tokens, open, attach }
}

describe("EngineRequests", () => {
  it.effect("a request that comes before its host waits for it", () =>
    Effect.gen(function* () {
      const { attach, commands, open, requests } = make()
      const { key, mailbox } = yield* open
      expect(requests.counts()).toEqual({ active: 0, queued: 1 })
      attach()
      expect(commands).toMatchObject([{ _tag: "Generate", key }])
      expect(
        requests.apply(
          turn([
            [key, started],
            [key, delta(1)],
            [key, finished]
          ])
        )
      ).toBeUndefined()
      expect((yield* gather(mailbox)).events).toEqual([started, delta(1), finished])
      expect(requests.counts()).toEqual({ active: 0, queued: 0 })
    })
  )

  it.effect("a lost host fails what it worked on, and only that", () =>
    Effect.gen(function* () {
      const { attach, commands, open, requests } = make()
      attach()
      const lost = yield* open
      requests.apply(turn([[lost.key, started]]))
      requests.detach()
      const kept = yield* open
      expect((yield* gather(lost.mailbox)).last).toMatchObject({ _tag: "Failed", failure: { code: "engine_lost" } })
      attach()
      expect(commands.map((command) => (command._tag === "Generate" ? command.key : command._tag))).toEqual([
        lost.key,
        kept.key
      ])
    })
  )

  it.effect("where no host comes up, nothing waits on", () =>
    Effect.gen(function* () {
      const { open, requests } = make()
      const { mailbox } = yield* open
      requests.abandon()
      expect((yield* gather(mailbox)).events).toMatchObject([{ _tag: "Failed", failure: { code: "engine_lost" } }])
      expect(requests.counts()).toEqual({ active: 0, queued: 0 })
    })
  )

  it.effect("more than slots and queue hold is refused at once, and room comes back", () =>
    Effect.gen(function* () {
      const { attach, open, requests } = make()
      attach()
      const held = yield* Effect.all(Array.from({ length: limits.slots + limits.queuedMax }, () => open))
      const refused = yield* open
      expect((yield* gather(refused.mailbox)).events).toMatchObject([
        { _tag: "Failed", failure: { code: "overloaded" } }
      ])
      const first = held[0]?.key ?? -1
      requests.apply(
        turn([
          [first, started],
          [first, finished]
        ])
      )
      const next = yield* open
      expect(requests.apply(turn([[next.key, started]]))).toBeUndefined()
    })
  )

  it.effect("a closed request keeps its slot until the host lets go", () =>
    Effect.gen(function* () {
      const { attach, commands, open, requests } = make()
      attach()
      const { key } = yield* open
      requests.apply(turn([[key, started]]))
      requests.close(key)
      requests.close(key)
      expect(commands.at(-1)).toEqual({ _tag: "Cancel", key })
      expect(commands.length).toBe(2)
      expect(requests.counts().active).toBe(1)
      expect(requests.apply(turn([[key, delta(1)]]))).toBeUndefined()
      expect(requests.counts().active).toBe(1)
      expect(requests.apply(turn([], [key]))).toBeUndefined()
      expect(requests.counts()).toEqual({ active: 0, queued: 0 })
    })
  )

  it.effect("a slot that was let go can be taken in the same turn", () =>
    Effect.gen(function* () {
      const { attach, open, requests } = make()
      attach()
      const held = [yield* open, yield* open]
      requests.apply(turn(held.map(({ key }) => [key, started])))
      const next = yield* open
      const given = held[0]?.key ?? -1
      requests.close(given)
      expect(requests.apply(turn([[next.key, started]], [given]))).toBeUndefined()
      expect(requests.counts()).toEqual({ active: 2, queued: 0 })
    })
  )

  it.effect("what a broken host says is noticed", () =>
    Effect.gen(function* () {
      const wrong = function* (say: (key: number) => Turn) {
        const { attach, open, requests } = make()
        attach()
        const { key } = yield* open
        return requests.apply(say(key))
      }
      expect(yield* wrong(() => turn([[99, started]]))).toMatch(/not asked for/)
      expect(yield* wrong((key) => turn([[key, delta(1)]]))).toMatch(/before its start/)
      expect(yield* wrong((key) => turn([[key, finished]]))).toMatch(/before its start/)
      expect(
        yield* wrong((key) =>
          turn([
            [key, started],
            [key, started]
          ])
        )
      ).toMatch(/more answers/)
      expect(
        yield* wrong((key) =>
          turn([
            [key, started],
            [key, delta(17)]
          ])
        )
      ).toMatch(/exceeds its context/)
      expect(
        yield* wrong((key) =>
          turn([
            [key, started],
            [key, finished],
            [key, delta(1)]
          ])
        )
      ).toMatch(/not asked for/)
      expect(yield* wrong((key) => turn([], [key]))).toMatch(/without being asked/)
      const endless = (key: number) =>
        turn([[key, started], ...Array<[number, GenerateEvent]>(19).fill([key, delta(0)])])
      expect(yield* wrong(endless)).toMatch(/exceeds its context/)
    })
  )

  it.effect("tokens are counted once each", () =>
    Effect.gen(function* () {
      const { attach, open, requests, tokens } = make()
      attach()
      const { key } = yield* open
      requests.apply(
        turn([
          [key, started],
          [key, delta(2)],
          [key, delta(1)],
          [key, finished]
        ])
      )
      expect(tokens).toEqual({ prompt: 3, completion: 3 })
    })
  )

  it.effect("after a stop everything fails", () =>
    Effect.gen(function* () {
      const { attach, open, requests } = make()
      attach()
      const before = yield* open
      requests.stop({ code: "shutting_down", message: "bye" })
      const after = yield* open
      for (const { mailbox } of [before, after]) {
        expect((yield* gather(mailbox)).last).toMatchObject({ _tag: "Failed", failure: { code: "shutting_down" } })
      }
    })
  )

  const steps = FastCheck.array(
    FastCheck.tuple(FastCheck.constantFrom("open", "close", "start", "end", "lose"), FastCheck.nat(12))
  )
  it.prop("counts stay within their bounds and come back to nothing", steps, (steps) =>
    Effect.gen(function* () {
      const { attach, open, requests } = make()
      attach()
      const keys: Array<number> = []
      for (const [step, pick] of steps) {
        const key = keys[pick % Math.max(1, keys.length)] ?? 0
        if (step === "open") keys.push((yield* open).key)
        else if (step === "close") requests.close(key)
        else if (step === "start") requests.apply(turn([[key, started]]))
        else if (step === "end") requests.apply(turn([[key, finished]]))
        else {
          requests.detach()
          attach()
        }
        const { active, queued } = requests.counts()
        expect(active).toBeWithin(0, limits.slots + 1)
        expect(active + queued).toBeWithin(0, limits.slots + limits.queuedMax + 1)
        expect(queued).toBeGreaterThanOrEqual(0)
      }
      requests.detach()
      expect(requests.counts()).toEqual({ active: 0, queued: 0 })
    })
  )

  test("a request whose frame is too large is refused as such", async () => {
    const { open, requests } = make()
    requests.attach(() => false)
    const gathered = await Effect.runPromise(Effect.scoped(Effect.flatMap(open, ({ mailbox }) => gather(mailbox))))
    expect(gathered.last).toMatchObject({ _tag: "Failed", failure: { code: "invalid_request" } })
    expect(requests.counts()).toEqual({ active: 0, queued: 0 })
  })
})
