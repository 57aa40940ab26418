/**
 * The loops of several stages, joined in this process by encoded frames: with any cut, whatever runs beside it and
 * whatever is drafted, an answer is what the whole model gives in the exact profile. Models with random weights: their
 * tokens change with the last bit of a logit.
 */
import { describe, expect } from "bun:test"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import { line } from "./looping.ts"
import { cut, drafting, drive, host, task, truth } from "./staging.ts"

const tasks = [task(300, 1), task(130, 2), task(129, 3), task(7, 4)]

const cuts = [[3], [1], [5], [2, 4], [1, 5], [1, 3, 5]]

describe("a model cut into stages gives four answers at once, token for token those of the whole", () => {
  for (const quantization of ["Q4_K_M", "Q8_0", "F16"] as const)
    it.live(
      quantization,
      () =>
        Effect.gen(function* () {
          let wanted: Array<ReadonlyArray<number>> | undefined
          for (const places of quantization === "Q4_K_M" ? cuts : [[2, 4], [1]]) {
            const { stages, whole } = yield* cut(quantization, places)
            wanted ??= yield* truth(whole, tasks)
            const { received, send } = yield* line(stages)
            const hosts = tasks.map((one, job) => host(job, one, wanted?.[job]?.length ?? 0))
            yield* drive(hosts, send, received)
            expect(hosts.map(({ tokens }) => tokens)).toEqual([...wanted])
          }
          expect(wanted?.some((tokens) => tokens.length === 40)).toBe(true)
        }),
      60_000
    )
})

describe("drafts change no token of four answers at once", () => {
  const manners = {
    "all right": { right: () => 8, count: 5 },
    "all wrong": { right: () => 0, count: 4 },
    "some right": { right: (at: number) => at % 3, count: 3 },
    "none for some": { right: (at: number) => at % 3, count: 2 }
  } as const
  for (const quantization of ["Q4_K_M", "F16"] as const)
    it.live(
      quantization,
      () =>
        Effect.gen(function* () {
          const { stages, whole } = yield* cut(quantization, [2, 5])
          const wanted = yield* truth(whole, tasks)
          for (const [manner, { count, right }] of Object.entries(manners)) {
            const { received, send } = yield* line(stages)
            const hosts = tasks.map((one, job) => {
              const known = wanted[job] ?? []
              const isAlone = manner === "none for some" && job % 2 === 0
              return host(job, one, known.length, isAlone ? undefined : drafting(known, right, count))
            })
            yield* drive(hosts, send, received)
            for (const [job, { tokens }] of hosts.entries())
              expect(tokens.slice(0, wanted[job]?.length)).toEqual([...(wanted[job] ?? [])])
            const rejections = hosts.reduce((sum, one) => sum + one.rejections(), 0)
            expect(manner === "all right" ? rejections === 0 : rejections > 20).toBe(true)
          }
        }),
      60_000
    )
})
