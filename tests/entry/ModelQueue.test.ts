/** The queue of one model: turns between callers, its bounds, and what a refused request is told. */
import { expect } from "bun:test"
import * as ModelQueue from "@weft/entry/ModelQueue"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

const stand = (queue: ModelQueue.ModelQueue, ticket: number, caller: string): ModelQueue.ModelQueue => {
  const entry = ModelQueue.enter(queue, ticket, caller, 1_000_000)
  if (entry._tag === "Refused") throw new Error("refused")
  return entry.queue
}
const order = (queue: ModelQueue.ModelQueue): ReadonlyArray<number> => {
  const next = ModelQueue.take(queue, () => true)
  return next === undefined ? [] : [next.ticket, ...order(next.queue)]
}

it.effect("callers take turns: one with many requests does not hold up one with a single request", () =>
  Effect.sync(() => {
    const greedy = [0, 1, 2, 3].reduce((queue, ticket) => stand(queue, ticket, "greedy"), ModelQueue.empty)
    const both = stand(stand(greedy, 10, "modest"), 11, "modest")
    expect(order(both)).toEqual([0, 10, 1, 11, 2, 3])
    expect(order(ModelQueue.abandon(both, 10, "modest"))).toEqual([0, 11, 1, 2, 3])
    expect(ModelQueue.abandon(both, 99, "modest")).toBe(both)
  })
)

it.effect("a ticket that fits nowhere keeps its place and holds nobody up", () =>
  Effect.sync(() => {
    const queue = stand(stand(stand(stand(ModelQueue.empty, 0, "a"), 1, "a"), 10, "b"), 2, "a")
    const first = ModelQueue.take(queue, (ticket) => ticket !== 0)
    expect(first?.ticket).toBe(1)
    expect(order(first?.queue ?? queue)).toEqual([10, 0, 2])
    expect(ModelQueue.take(queue, () => false)).toBeUndefined()
  })
)

it.effect("who would wait too long is refused and told when to come again, by the measured rate", () =>
  Effect.sync(() => {
    const measured = ModelQueue.held(ModelQueue.empty, 2_000)
    const queue = [1, 2, 3, 4].reduce((queue, ticket) => stand(queue, ticket, "a"), measured)
    // Five answers of 2 s on two slots: 5 s.
    expect(ModelQueue.expectedWaitMs(queue, 2)).toBe(5_000)
    expect(ModelQueue.enter(queue, 9, "b", 2)._tag).toBe("Waiting")
    const slow = { ...queue, holdMs: 10_000 }
    expect(ModelQueue.enter(slow, 9, "b", 2)).toEqual({ _tag: "Refused", retryAfterMs: 20_000 })
    expect(ModelQueue.enter({ ...ModelQueue.empty, holdMs: 60_000 }, 9, "b", 1)._tag).toBe("Waiting")
  })
)

const step = FastCheck.oneof(
  FastCheck.record({ kind: FastCheck.constant("enter" as const), caller: FastCheck.constantFrom("a", "b", "c") }),
  FastCheck.record({ kind: FastCheck.constant("take" as const) }),
  FastCheck.record({ kind: FastCheck.constant("abandon" as const), nth: FastCheck.nat(20) }),
  FastCheck.record({ kind: FastCheck.constant("held" as const), ms: FastCheck.nat(3_000) })
)

it.prop(
  "no ticket is lost, doubled or overtaken by a later one of its own caller, and the length is true",
  FastCheck.array(step, { maxLength: 120 }),
  (steps) =>
    Effect.sync(() => {
      let queue = ModelQueue.empty
      let ticket = 0
      const inside: Array<{ readonly ticket: number; readonly caller: string }> = []
      for (const next of steps) {
        if (next.kind === "enter") {
          const entry = ModelQueue.enter(queue, ticket, next.caller, 4)
          if (entry._tag === "Waiting") {
            queue = entry.queue
            inside.push({ ticket, caller: next.caller })
          } else expect(entry.retryAfterMs).toBeGreaterThanOrEqual(1_000)
          ticket++
        } else if (next.kind === "held") queue = ModelQueue.held(queue, next.ms)
        else if (next.kind === "abandon") {
          const [gone] = inside.splice(next.nth % Math.max(1, inside.length), 1)
          if (gone !== undefined) queue = ModelQueue.abandon(queue, gone.ticket, gone.caller)
        } else {
          const taken = ModelQueue.take(queue, () => true)
          expect(taken === undefined).toBe(inside.length === 0)
          if (taken === undefined) continue
          queue = taken.queue
          const { caller } = inside.find(({ ticket }) => ticket === taken.ticket) ?? { caller: "nobody" }
          expect(inside.find((other) => other.caller === caller)?.ticket).toBe(taken.ticket)
          inside.splice(
            inside.findIndex(({ ticket }) => ticket === taken.ticket),
            1
          )
        }
        expect(queue.length).toBe(inside.length)
        expect(order(queue).toSorted((a, b) => a - b)).toEqual(
          inside.map(({ ticket }) => ticket).toSorted((a, b) => a - b)
        )
      }
    }),
  { runs: 500 }
)
