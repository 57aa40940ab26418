/** The loop of a host's work: it goes on while there is work, and ends with whatever goes wrong in it. */
import { expect } from "bun:test"
import { EngineError } from "@weft/engine/EngineError"
import { HostInbox } from "@weft/engine/HostInbox"
import { Cause, Effect, Exit } from "effect"
import { it } from "../support/effect.ts"

it.live("takes what comes in its order, works on while it is busy, and ends with the channel", () =>
  Effect.gen(function* () {
    const inbox = new HostInbox()
    inbox.push("first")
    expect(yield* inbox.first).toBe("first")
    const seen: Array<ReadonlyArray<unknown>> = []
    const step = (frames: ReadonlyArray<unknown>) => {
      seen.push(frames)
      if (seen.length === 3) inbox.close()
      return undefined
    }
    inbox.push("second")
    inbox.push("third")
    yield* inbox.serve({ step, busy: () => true })
    expect(seen).toEqual([["second", "third"], [], []])
  })
)

it.live("ends with what is wrong, and with what throws", () =>
  Effect.gen(function* () {
    const serve = (step: () => EngineError | undefined) =>
      Effect.exit(new HostInbox().serve({ step, busy: () => false }))
    const wrong = new EngineError({ reason: "protocol_broken", detail: "a second Load" })
    expect(yield* serve(() => wrong)).toEqual(Exit.fail(wrong))
    const thrown = yield* serve(() => {
      throw new Error("llama_decode returned 1")
    })
    expect(Exit.isFailure(thrown) && Cause.pretty(thrown.cause)).toContain("llama_decode returned 1")
  })
)
