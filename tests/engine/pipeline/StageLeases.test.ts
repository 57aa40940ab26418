/** Leases of jobs: who is heard of keeps its slot, who is not loses it, and no flood of frames grows anything. */
import { expect, test } from "bun:test"
import type { Peeked } from "@weft/engine/pipeline/StageFrame"
import * as StageLeases from "@weft/engine/pipeline/StageLeases"
import { FastCheck } from "effect"

const slots = 4

const frame = (kind: "open" | "window" | "close", job: number, epoch = 1): Peeked => ({
  kind,
  rows: 1,
  isForHost: false,
  epoch,
  job
})

const after = (frames: ReadonlyArray<readonly [nowMs: number, frame: Peeked]>) =>
  frames.reduce((leases, [nowMs, one]) => StageLeases.hear(leases, one, slots, nowMs), StageLeases.none)

const expiredAt = (leases: StageLeases.StageLeases, nowMs: number) =>
  StageLeases.expired(leases, 100, nowMs).map(({ job }) => job)

test("a job expires a lease after its last frame, and not before", () => {
  const leases = after([
    [0, frame("open", 1)],
    [10, frame("open", 2)],
    [50, frame("window", 1)],
    [60, frame("window", 3)]
  ])
  expect(expiredAt(leases, 109)).toEqual([])
  expect(expiredAt(leases, 110)).toEqual([2])
  expect(expiredAt(leases, 150)).toEqual([1, 2])
  expect(expiredAt(StageLeases.hear(leases, frame("close", 1), slots, 60), 1000)).toEqual([2])
})

test("a newer pipeline takes all over, an older one is not heard", () => {
  const leases = after([
    [0, frame("open", 1)],
    [1, frame("open", 2, 5)],
    [2, frame("open", 3, 4)],
    [3, frame("window", 2, 6)],
    [4, frame("close", 2, 4)]
  ])
  expect(StageLeases.expired(leases, 100, 1000)).toEqual([{ epoch: 5, job: 2 }])
})

test("whatever comes, no more jobs than slots have a lease, and all expire in the end", () => {
  const event = FastCheck.tuple(
    FastCheck.nat(1000),
    FastCheck.record({
      kind: FastCheck.constantFrom("open" as const, "window" as const, "close" as const),
      rows: FastCheck.constant(1),
      isForHost: FastCheck.constant(false),
      epoch: FastCheck.nat(3),
      job: FastCheck.nat(10)
    })
  )
  FastCheck.assert(
    FastCheck.property(FastCheck.array(event), (events) => {
      const leases = after(events)
      expect(leases.heardMs.size).toBeLessThanOrEqual(slots)
      expect(expiredAt(leases, 1100).length).toBe(leases.heardMs.size)
    })
  )
})
