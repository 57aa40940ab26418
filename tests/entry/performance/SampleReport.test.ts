/** What entries tell each other: whole after the way there and back, bounded, and believed where it makes sense. */
import { expect } from "bun:test"
import * as OtherEntries from "@weft/entry/performance/OtherEntries"
import { type Measured, PerformanceBoard } from "@weft/entry/performance/PerformanceBoard"
import * as State from "@weft/entry/performance/PerformanceState"
import * as SampleReport from "@weft/entry/performance/SampleReport"
import { fromPublicKey } from "@weft/mesh/PeerId"
import * as Sketch from "@weft/mesh/Sketch"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const nowMs = 1_700_000_000_000
const idOf = (index: number) => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(0, index)
  return fromPublicKey(key)
}
const [own, other] = [idOf(1), idOf(2)]

const sample = FastCheck.record({
  ttftMs: FastCheck.double({ min: 0, max: 600_000, noNaN: true }),
  tokensPerSecond: FastCheck.option(FastCheck.double({ min: 0.01, max: 100_000, noNaN: true }), { nil: undefined })
})
const noted = FastCheck.record({
  peer: FastCheck.integer({ min: 3, max: 9 }).map(idOf),
  model: FastCheck.constantFrom("tiny", 'a "model"\u2028', "x".repeat(256)),
  mode: FastCheck.constantFrom("solo" as const, "split" as const),
  sample,
  at: FastCheck.nat(State.hourMs)
})
type Noted = typeof noted extends FastCheck.Arbitrary<infer Value> ? Value : never
const boardOf = (all: ReadonlyArray<Noted>): ReadonlyArray<Measured> => {
  const board = new PerformanceBoard()
  for (const { at, sample, ...served } of all) board.record(served, sample, nowMs - at)
  return board.own(nowMs)
}
const byServed = (all: ReadonlyArray<Measured>) => all.toSorted((one, two) => (nameOf(one) < nameOf(two) ? -1 : 1))
const nameOf = ({ served: { mode, model, peer } }: Measured) => `${mode} ${peer} ${model}`

it.effect("what one entry measured is what the other reads, and told again it is the same", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(noted, { maxLength: 40 }), (all) => {
        const measured = boardOf(all.toSorted((one, two) => two.at - one.at))
        const read = SampleReport.read(SampleReport.write(other, measured, nowMs), own, nowMs + 1_000)
        const told = Either.getOrThrowWith(read, (why) => new Error(why))
        expect(told.entry).toBe(other)
        expect(byServed(told.measured)).toEqual(byServed(measured))
        const board = new PerformanceBoard()
        for (let times = 0; times < 3; times++) board.replace(told.entry, told.measured)
        const samples = ["tiny", 'a "model"\u2028', "x".repeat(256)].flatMap((model) =>
          (["solo", "split"] as const).map((mode) => board.ofModel(model, mode, nowMs)?.samples ?? 0)
        )
        expect(samples.reduce((sum, count) => sum + count, 0)).toBe(all.length)
      }),
      { numRuns: 100 }
    )
  )
)

it.effect("a report of a full board is under its bound, and holds what was measured last", () =>
  Effect.sync(() => {
    const board = new PerformanceBoard()
    const served = (index: number) => ({ peer: idOf(index), model: `model ${index}`, mode: "solo" }) as const
    for (let index = 0; index < 4_000; index++) {
      const atMs = nowMs - (4_000 - index) * 800
      for (let times = 0; times < 16; times++) {
        board.record(served(index), { ttftMs: 2 ** (times + 1), tokensPerSecond: 1.5 ** (times + 1) }, atMs)
      }
    }
    const text = SampleReport.write(other, board.own(nowMs), nowMs)
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(SampleReport.bytesMax)
    const { measured } = Either.getOrThrow(SampleReport.read(text, own, nowMs))
    expect(measured.length).toBeGreaterThan(1_000)
    expect(measured.length).toBeLessThan(4_000)
    expect(measured.some((one) => one.served.model === "model 3999")).toBe(true)
    expect(measured.some((one) => one.served.model === "model 0")).toBe(false)
  })
)

it.effect("the entry itself, another clock and another version count for nothing, and say why", () =>
  Effect.sync(() => {
    const report = (entry = other) => SampleReport.write(entry, [], nowMs)
    const why = (text: string, atMs = nowMs) =>
      Either.getOrElse(Either.flip(SampleReport.read(text, own, atMs)), () => "")
    expect(why(report())).toBe("")
    expect(why(report(own))).toContain("WEFT_ENTRIES")
    expect(why(report(), nowMs + 600_001)).toContain("clock")
    expect(why(report(), nowMs - 600_001)).toContain("clock")
    expect(why(report(), nowMs + 600_000)).toBe("")
    expect(why(report().replace('"version":1', '"version":2'))).not.toBe("")
  })
)

const bins = FastCheck.array(FastCheck.tuple(FastCheck.double(), FastCheck.double()), { maxLength: 4 })
const hostile = FastCheck.oneof(
  FastCheck.string(),
  FastCheck.json(),
  FastCheck.record({
    version: FastCheck.constant(1),
    entry: FastCheck.constantFrom(other, "nobody"),
    nowMs: FastCheck.constantFrom(nowMs, -1, 1e300),
    series: FastCheck.array(
      FastCheck.record({
        peer: FastCheck.constant(idOf(5)),
        model: FastCheck.constantFrom("tiny", ""),
        mode: FastCheck.constantFrom("solo", "both"),
        steps: FastCheck.array(
          FastCheck.record({
            step: FastCheck.constantFrom(-1, 0.5, 3, 5_666_666),
            ttftMs: bins,
            tokensPerSecond: bins
          }),
          { maxLength: 3 }
        )
      }),
      { maxLength: 3 }
    )
  }).map((report) => JSON.stringify(report))
)

it.effect("whatever another entry says, it is refused or figures come of it that are finite and of this hour", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(hostile, (text) => {
        const read = SampleReport.read(text, own, nowMs)
        if (Either.isLeft(read)) return
        const board = new PerformanceBoard()
        board.replace(read.right.entry, read.right.measured)
        for (const { served } of read.right.measured) {
          const figures = board.of(served, nowMs)
          if (figures === undefined) continue
          expect(Number.isSafeInteger(figures.samples) && figures.samples > 0).toBe(true)
          expect(Number.isFinite(figures.ttftMs.p50) && figures.ttftMs.p50 > 0).toBe(true)
        }
      }),
      { numRuns: 2_000 }
    )
  )
)

it.effect("numbers that no entry measures are refused: too high, too many, more rates than answers", () =>
  Effect.sync(() => {
    const step = Math.floor(nowMs / State.stepMs)
    const isTaken = (ttftMs: ReadonlyArray<readonly number[]>, tokensPerSecond: ReadonlyArray<readonly number[]>) => {
      const series = { peer: idOf(5), model: "tiny", mode: "solo", steps: [{ step, ttftMs, tokensPerSecond }] }
      const text = JSON.stringify({ version: 1, entry: other, nowMs, series: [series] })
      return Either.isRight(SampleReport.read(text, own, nowMs))
    }
    const binOf = (value: number) => Sketch.add(Sketch.empty, value)[0]?.[0] ?? Number.NaN
    const good = [[binOf(100), 5]]
    expect(isTaken(good, [[binOf(100_000), 5]])).toBe(true)
    expect(isTaken([[binOf(600_000), 5]], [])).toBe(true)
    expect(isTaken(good, [[binOf(953_000), 1]])).toBe(false)
    expect(isTaken([[binOf(1e6), 5]], [])).toBe(false)
    expect(isTaken(good, [[binOf(10), 6]])).toBe(false)
    expect(isTaken([[binOf(100), 1_500_001]], [])).toBe(false)
    for (const bin of [
      [binOf(100), -1],
      [binOf(100), 0],
      [binOf(100), 0.5],
      [1e9, 1],
      [-1e9, 1]
    ]) {
      expect(isTaken([bin], [])).toBe(false)
    }
  })
)

it.effect("steps of another hour, and of one to come, are no part of this one", () =>
  Effect.sync(() => {
    const step = Math.floor(nowMs / State.stepMs)
    const of = (step: number) => ({ step, ttftMs: [[100, 5]], tokensPerSecond: [] }) as const
    const series = { peer: idOf(5), model: "tiny", mode: "solo", steps: [of(step - 20), of(step), of(step + 20)] }
    const text = JSON.stringify({ version: 1, entry: other, nowMs, series: [series] })
    const { entry, measured } = Either.getOrThrow(SampleReport.read(text, own, nowMs))
    const board = new PerformanceBoard()
    board.replace(entry, measured)
    expect(board.ofModel("tiny", "solo", nowMs)?.samples).toBe(5)
    for (const steps of [
      [of(step), of(step)],
      [of(step + 1), of(step)],
      Array.from({ length: 99 }, (_, at) => of(at))
    ]) {
      const lie = JSON.stringify({ version: 1, entry: other, nowMs, series: [{ ...series, steps }] })
      expect(Either.isLeft(SampleReport.read(lie, own, nowMs))).toBe(true)
    }
  })
)

it.effect("WEFT_ENTRIES names the roots of doors, each once, and says what it cannot read", () =>
  Effect.sync(() => {
    const urls = (text: string) => Either.merge(OtherEntries.parseList(text))
    expect(urls("")).toEqual([])
    expect(urls(" http://a:1/ , https://b/x,http://a:1")).toEqual(["http://a:1", "https://b"])
    for (const text of ["a:1", "ftp://a", "http://user:secret@a", "http://"]) expect(urls(text)).toContain("no entry")
    expect(urls(Array.from({ length: 17 }, (_, index) => `http://h${index}`).join(","))).toContain("at most 16")
  })
)
