/** What a link does to datagrams, as a pure function: repeatable, in order, and no faster than its rate. */
import { expect } from "bun:test"
import * as Impairment from "@weft/infra/wan/Impairment"
import { Effect, FastCheck } from "effect"
import { it } from "../support/effect.ts"

interface Sent {
  readonly sizeBytes: number
  readonly nowMs: number
}

const impairment: FastCheck.Arbitrary<Impairment.Impairment> = FastCheck.record({
  delayMs: FastCheck.integer({ min: 0, max: 200 }),
  jitterMs: FastCheck.integer({ min: 0, max: 50 }),
  lossShare: FastCheck.constantFrom(0, 0.005, 0.3, 1),
  rateBitsPerSecond: FastCheck.constantFrom(1e5, 2e6, 1e9, Number.POSITIVE_INFINITY),
  queueBytes: FastCheck.constantFrom(0, 2_000, 65_536),
  seed: FastCheck.integer({ min: 0, max: 2 ** 32 - 1 })
})

const traffic = FastCheck.array(
  FastCheck.record({
    gapMs: FastCheck.integer({ min: 0, max: 20 }),
    sizeBytes: FastCheck.integer({ min: 0, max: 1500 })
  }),
  { minLength: 1, maxLength: 100, size: "max" }
).map((datagrams) => {
  let nowMs = 0
  return datagrams.map(({ gapMs, sizeBytes }): Sent => {
    nowMs += gapMs
    return { sizeBytes, nowMs }
  })
})

/** Returns the fates of `traffic` with what was sent. */
const through = (link: Impairment.Impairment, traffic: ReadonlyArray<Sent>, direction: "up" | "down" = "up") => {
  let lane = Impairment.lane(direction)
  return traffic.map((sent) => {
    const next = Impairment.fate(link, lane, { ...sent, underwayBytes: 0 })
    lane = next.lane
    return { ...sent, fate: next.fate, lane }
  })
}

const leaving = (fates: ReturnType<typeof through>) =>
  fates.flatMap(({ fate, ...sent }) => (fate.kind === "leaves" ? [{ ...sent, atMs: fate.atMs }] : []))

it.prop("the same seed and traffic have the same fates", FastCheck.tuple(impairment, traffic), ([link, traffic]) =>
  Effect.sync(() => expect(through(link, traffic)).toEqual(through(link, traffic)))
)

it.prop(
  "which datagrams are lost depends on the seed alone, not on when they come, their size, or the rate",
  FastCheck.tuple(impairment, traffic, traffic),
  ([link, one, other]) =>
    Effect.sync(() => {
      const lost = (link: Impairment.Impairment, traffic: ReadonlyArray<Sent>): ReadonlyArray<boolean> =>
        through(link, traffic).map(({ fate }) => fate.kind === "lost")
      const count = Math.min(one.length, other.length)
      const fast = { ...link, rateBitsPerSecond: Number.POSITIVE_INFINITY, delayMs: 0 }
      expect(lost(fast, other).slice(0, count)).toEqual(lost(link, one).slice(0, count) as Array<boolean>)
    })
)

it.prop(
  "datagrams leave in order, and no sooner than the way takes",
  FastCheck.tuple(impairment, traffic),
  ([link, traffic]) =>
    Effect.sync(() => {
      let lastMs = 0
      for (const { atMs, nowMs, sizeBytes } of leaving(through(link, traffic))) {
        const sendMs = (sizeBytes * 8_000) / link.rateBitsPerSecond
        expect(atMs).toBeGreaterThanOrEqual(lastMs)
        expect(atMs).toBeGreaterThanOrEqual(nowMs + sendMs + Math.max(0, link.delayMs - link.jitterMs) - 1e-6)
        lastMs = atMs
      }
    })
)

it.prop(
  "between any two departures no more leaves than the rate allows, the jitter aside",
  FastCheck.tuple(impairment, traffic),
  ([link, traffic]) =>
    Effect.sync(() => {
      const steady = { ...link, jitterMs: 0 }
      const left = leaving(through(steady, traffic))
      for (const [from, first] of left.entries()) {
        let bytes = 0
        for (const next of left.slice(from + 1)) {
          bytes += next.sizeBytes
          const allowed = ((next.atMs - first.atMs) * link.rateBitsPerSecond) / 8_000
          expect(bytes).toBeLessThanOrEqual(Number.isNaN(allowed) ? Number.POSITIVE_INFINITY : allowed + 1e-3)
        }
      }
    })
)

it.prop(
  "what waits never exceeds the queue, and only then a datagram overflows",
  FastCheck.tuple(impairment, traffic),
  ([link, traffic]) =>
    Effect.sync(() => {
      const bytesPerMs = link.rateBitsPerSecond / 8_000
      let freeAtMs = 0
      for (const { fate, lane, nowMs, sizeBytes } of through(link, traffic)) {
        const waiting = (at: number): number =>
          bytesPerMs === Number.POSITIVE_INFINITY ? 0 : Math.max(0, at - nowMs) * bytesPerMs
        if (fate.kind === "overflows") expect(waiting(freeAtMs) + sizeBytes).toBeGreaterThan(link.queueBytes - 1e-3)
        if (fate.kind === "leaves") expect(waiting(lane.freeAtMs)).toBeLessThanOrEqual(link.queueBytes + 1e-3)
        freeAtMs = lane.freeAtMs
      }
    })
)

it.effect("as many are lost as was asked for, others with another seed and in the other direction", () =>
  Effect.sync(() => {
    const traffic = Array.from({ length: 20_000 }, () => ({ sizeBytes: 0, nowMs: 0 }))
    const lost = (seed: number, direction: "up" | "down" = "up"): ReadonlyArray<number> =>
      through({ ...Impairment.none, lossShare: 0.02, seed }, traffic, direction).flatMap(({ fate }, index) =>
        fate.kind === "lost" ? [index] : []
      )
    // Five standard deviations of a binomial distribution are 99.
    for (const seed of [0, 1, 2, 77]) expect(Math.abs(lost(seed).length - 400)).toBeLessThan(100)
    const both = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number =>
      a.filter((index) => b.includes(index)).length
    // Chance alone shares 2 % of 400: 8.
    expect(both(lost(1), lost(2))).toBeLessThan(25)
    expect(both(lost(1), lost(1, "down"))).toBeLessThan(25)
  })
)

it.effect("jitter spreads the delays to both sides of the delay, and never before sending", () =>
  Effect.sync(() => {
    const link = { ...Impairment.none, delayMs: 25, jitterMs: 3 }
    // So far apart that none waits for the one before.
    const traffic = Array.from({ length: 500 }, (_, index) => ({ sizeBytes: 100, nowMs: index * 100 }))
    const delays = leaving(through(link, traffic)).map(({ atMs, nowMs }) => atMs - nowMs)
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(22)
    expect(Math.min(...delays)).toBeLessThan(22.5)
    expect(Math.max(...delays)).toBeLessThanOrEqual(28)
    expect(Math.max(...delays)).toBeGreaterThan(27.5)
  })
)

it.effect("a link that sends at once still holds a bounded number of bytes", () =>
  Effect.sync(() => {
    const datagram = { sizeBytes: 1000, nowMs: 0, underwayBytes: Impairment.underwayBytesMax - 999 }
    const { fate } = Impairment.fate({ ...Impairment.none, delayMs: 1000 }, Impairment.lane("up"), datagram)
    expect(fate).toEqual({ kind: "overflows" })
  })
)
