/** The arithmetic of benchmarks: what is printed must be what was measured. */
import { describe, expect, test } from "bun:test"
import * as Figures from "@weft/infra/bench/Figures"
import * as ChatStream from "@weft/infra/bench/http/ChatStream"
import * as Latencies from "@weft/infra/bench/Latencies"
import * as MemoryTrend from "@weft/infra/bench/load/MemoryTrend"
import * as ProcessFigures from "@weft/infra/bench/ProcessFigures"
import * as Report from "@weft/infra/bench/Report"
import * as Seeded from "@weft/infra/bench/Seeded"

describe("figures", () => {
  test("the median is the middle value, or the mean of both", () => {
    expect(Figures.median([3, 1, 2])).toBe(2)
    expect(Figures.median([4, 1, 3, 2])).toBe(2.5)
    expect(Figures.median([])).toBeNaN()
  })

  test("quantiles are values that were measured, by the nearest rank", () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index)
    expect([0, 0.5, 0.95, 0.99, 1].map((q) => Figures.quantile(values, q))).toEqual([1, 50, 95, 99, 100])
    expect(Figures.quantile([], 0.5)).toBeNaN()
  })

  test("a ratio is the median of the pairs' own: one slow minute moves both halves of its pair", () => {
    const pairs = [
      { through: 98, direct: 100 },
      { through: 49, direct: 50 },
      { through: 9.7, direct: 10 }
    ]
    expect(Figures.ratio(pairs)).toBeCloseTo(0.98)
  })

  test("the line of least squares has the slope of the points, and says how sure it is", () => {
    const exact = Figures.leastSquares([0, 1, 2, 3].map((x) => [x, 5 + 3 * x] as const))
    expect(exact.slope).toBeCloseTo(3)
    expect(exact.slopeError).toBeCloseTo(0)
    const noisy = Figures.leastSquares([0, 1, 2, 3].map((x) => [x, x % 2] as const))
    expect(noisy.slope).toBeCloseTo(0.2)
    expect(noisy.slopeError).toBeGreaterThan(0.2)
    expect(Figures.leastSquares([[1, 1]]).slope).toBeNaN()
  })
})

describe("processes", () => {
  test("a trend is the growth per hour once the first third is over", () => {
    const samples = Array.from({ length: 30 }, (_, index) => [index * 5, index < 10 ? index * 1000 : 9000] as const)
    expect(MemoryTrend.trendOf(samples)).toMatchObject({ firstBytes: 0, lastBytes: 9000, maxBytes: 9000 })
    expect(MemoryTrend.trendOf(samples).bytesPerHour).toBeCloseTo(0)
    const rising = samples.map(([seconds], index) => [seconds, index * 50] as const)
    expect(MemoryTrend.trendOf(rising).bytesPerHour).toBeCloseTo(36_000)
  })

  test("this process has memory and uses processor time; one that is gone has none", () => {
    const before = ProcessFigures.processorMs(process.pid)
    expect(ProcessFigures.residentBytes(process.pid)).toBeGreaterThan(10 * 2 ** 20)
    // Ends as soon as the count moves; where it never does, the test's own deadline ends it.
    while (process.platform === "linux" && ProcessFigures.processorMs(process.pid) <= before) Math.sqrt(before)
    expect(ProcessFigures.residentBytes(2 ** 30)).toBeNaN()
  })
})

describe("decode rates", () => {
  const usage = { promptTokens: 1, completionTokens: 4, cachedTokens: 0 }
  const pieces = (texts: ReadonlyArray<string>) => texts.map((text, index) => ({ atMs: index * 100, text }))

  test("the first token's time is not in it", () => {
    expect(ChatStream.decodeRate({ pieces: pieces([" ab", " cd", " ef", " gh"]), usage })).toBeCloseTo(10)
  })

  test("tokens that came with the first are not in it either", () => {
    expect(ChatStream.decodeRate({ pieces: pieces([" ab cd", " ef", " gh"]), usage })).toBeCloseTo(10)
    expect(ChatStream.decodeRate({ pieces: pieces([" ab cd ef gh"]), usage })).toBeNaN()
  })
})

describe("latencies", () => {
  test("quantiles are within 0.1 % over six decades, and nothing is dropped", () => {
    const latencies = Latencies.make()
    for (let exponent = -2; exponent <= 4; exponent++) latencies.add(10 ** exponent)
    const { count, max, p50 } = latencies.quantiles()
    expect(count).toBe(7)
    expect(p50).toBeCloseTo(10, 1)
    expect(Math.abs(max / 10_000 - 1)).toBeLessThan(0.001)
  })

  test("of nothing there are no quantiles", () => {
    expect(Latencies.make().quantiles()).toMatchObject({ count: 0, p50: Number.NaN, max: Number.NaN })
  })
})

describe("chance", () => {
  test("one seed gives one schedule, another seed another", () => {
    const schedule = (seed: number) => Seeded.poisson(Seeded.make(seed), 50, 10)
    expect(schedule(3)).toEqual(schedule(3))
    expect(schedule(3)).not.toEqual(schedule(4))
  })

  test("arrivals rise, stay below the end, and are as many and as scattered as a Poisson process", () => {
    const arrivals = Seeded.poisson(Seeded.make(11), 100, 100)
    const gaps = arrivals.map((at, index) => at - (arrivals[index - 1] ?? 0))
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0)
    expect(arrivals.at(-1)).toBeLessThan(100)
    // 10,000 expected, deviation 100
    expect(Math.abs(arrivals.length - 10_000)).toBeLessThan(400)
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length
    expect(variance / mean ** 2).toBeCloseTo(1, 1)
  })

  test("whole numbers stay below their bound and reach every value", () => {
    const chance = Seeded.make(5)
    const drawn = Array.from({ length: 200 }, () => chance.below(6))
    expect([...new Set(drawn)].sort()).toEqual([0, 1, 2, 3, 4, 5])
  })
})

describe("reports", () => {
  const reached = Report.atLeast("rate", 0.99, 0.98)
  const missed = Report.atMost("milliseconds", 4, 3)

  test("the exit code is 0 only where there are goals and all are met", () => {
    expect(Report.exitCodeOf({ name: "n", figures: {}, reach: [reached] })).toBe(0)
    expect(Report.exitCodeOf({ name: "n", figures: {}, reach: [reached, missed] })).toBe(1)
    expect(Report.exitCodeOf({ name: "n", figures: {}, reach: [] })).toBe(1)
  })

  test("what could not be measured is not met", () => {
    expect(Report.atLeast("rate", Number.NaN, 0).met).toBe(false)
    expect(Report.atMost("milliseconds", Number.NaN, 3).met).toBe(false)
  })

  test("JSON is one line with the agreed fields, the text shows every goal", () => {
    const report = { name: "n", figures: { perSecond: [1.23456, 2], spread: { median: 1 } }, reach: [reached, missed] }
    const json = Report.toJson(report)
    expect(json).not.toContain("\n")
    expect(JSON.parse(json)).toEqual({
      name: "n",
      figures: { perSecond: [1.235, 2], spread: { median: 1 } },
      reach: [
        { what: "rate", value: 0.99, goal: "≥ 0.98", met: true },
        { what: "milliseconds", value: 4, goal: "≤ 3", met: false }
      ]
    })
    expect(Report.toText(report)).toMatch(/met .*rate.*\n.*UNMET.*milliseconds/)
  })
})
