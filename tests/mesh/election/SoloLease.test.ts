/** Whose order a peer follows: one entry's at a time, epochs that only rise, and nothing it cannot do. */
import { expect, test } from "bun:test"
import type { Assignment, Order } from "@weft/mesh/election/ElectionProtocol"
import * as SoloLease from "@weft/mesh/election/SoloLease"
import { Either, FastCheck } from "effect"
import { peerId } from "../peers.ts"

const [first, second] = [peerId(1), peerId(2)]
const limits: SoloLease.Limits = {
  usableBytes: 10,
  needBytes: new Map([
    ["a", 6],
    ["b", 5],
    ["c", 4]
  ])
}
const assignments = (...workers: ReadonlyArray<string>): ReadonlyArray<Assignment> =>
  ["a", "b", "c"].map((model) => ({ model, role: workers.includes(model) ? "worker" : "standby", why: "so" }))
const order = (epoch: number, changes: Partial<Order> = {}): Order => ({
  epoch,
  issuedAtMs: 0,
  leaseMs: 1_000,
  assignments: assignments("a"),
  ...changes
})
const followed = (entry: typeof first, epoch: number, now = 0) =>
  Either.getOrThrow(SoloLease.receive(SoloLease.free, entry, order(epoch), limits, now))
const refusal = (lease: SoloLease.SoloLease, entry: typeof first, one: Order, now: number) =>
  Either.getOrThrow(Either.flip(SoloLease.receive(lease, entry, one, limits, now)))

test("another entry is refused while the lease lives, whatever its epoch; later it needs a higher one", () => {
  const lease = followed(first, 3)
  expect(refusal(lease, second, order(99), 999)).toBe("LeasedElsewhere")
  expect(refusal(lease, second, order(3), 1_000)).toBe("StaleEpoch")
  const next = Either.getOrThrow(SoloLease.receive(lease, second, order(4), limits, 1_000))
  expect(next.holder).toMatchObject({ entry: second, epoch: 4, untilMs: 2_000 })
  expect(refusal(next, first, order(3), 2_000)).toBe("StaleEpoch")
})

test("the same order renews the lease, never shortens it, and must be the same", () => {
  const lease = followed(first, 3)
  const renewed = Either.getOrThrow(SoloLease.receive(lease, first, order(3, { issuedAtMs: 7 }), limits, 500))
  expect(renewed.holder).toMatchObject({ untilMs: 1_500, issuedAtMs: 7 })
  const late = Either.getOrThrow(SoloLease.receive(renewed, first, order(3, { leaseMs: 1 }), limits, 600))
  expect(late.holder).toMatchObject({ untilMs: 1_500, issuedAtMs: 7 })
  expect(refusal(renewed, first, order(3, { assignments: assignments("b") }), 500)).toBe("EpochReused")
  expect(refusal(renewed, first, order(2), 500)).toBe("StaleEpoch")
})

test("a peer refuses what it did not offer, what is named twice, and what does not fit together", () => {
  const asked = (one: ReadonlyArray<Assignment>) => refusal(SoloLease.free, first, order(1, { assignments: one }), 0)
  expect(asked([{ model: "x", role: "worker", why: "" }])).toBe("NotRequested")
  expect(asked([...assignments("a"), ...assignments("a")])).toBe("NotRequested")
  expect(asked(assignments("a", "b"))).toBe("Memory")
  for (const reason of ["StaleEpoch", "EpochReused", "LeasedElsewhere", "NotRequested", "Memory"] as const) {
    expect(SoloLease.toText(reason).length).toBeGreaterThan(10)
  }
})

test("whatever comes from two entries, epochs rise, no live lease changes hands, and memory is kept", () => {
  const message = FastCheck.record({
    entry: FastCheck.constantFrom(first, second),
    epoch: FastCheck.nat(6),
    workers: FastCheck.subarray(["a", "b", "c", "x"]),
    leaseMs: FastCheck.integer({ min: 1, max: 50 }),
    afterMs: FastCheck.nat(40)
  })
  FastCheck.assert(
    FastCheck.property(FastCheck.array(message, { maxLength: 30 }), (messages) => {
      let lease = SoloLease.free
      let now = 0
      for (const { afterMs, entry, epoch, leaseMs, workers } of messages) {
        now += afterMs
        const roles = workers.map((model): Assignment => ({ model, role: "worker", why: "" }))
        const next = SoloLease.receive(lease, entry, order(epoch, { assignments: roles, leaseMs }), limits, now)
        if (Either.isLeft(next)) continue
        const [was, is] = [lease.holder, next.right.holder]
        expect(next.right.highestEpoch).toBeGreaterThanOrEqual(lease.highestEpoch)
        if (was !== undefined && was.entry !== is?.entry) expect(now).toBeGreaterThanOrEqual(was.untilMs)
        if (was !== undefined && was.entry !== is?.entry) expect(epoch).toBeGreaterThan(lease.highestEpoch)
        const needed = workers.reduce((sum, model) => sum + (limits.needBytes.get(model) ?? 99), 0)
        expect(needed).toBeLessThanOrEqual(limits.usableBytes)
        lease = next.right
      }
    }),
    { numRuns: 2_000 }
  )
})
