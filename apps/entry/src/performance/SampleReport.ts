/**
 * What one entry tells another of the last hour: its own series, step by step, and never what others told it. Pure; a
 * report is believed as far as its schema, its clock and its steps make sense.
 */
import { ModelDescription } from "@weft/mesh/ModelDescription"
import { PeerId } from "@weft/mesh/PeerId"
import { count, quantile, relativeError, Sketch } from "@weft/mesh/Sketch"
import { Either, ParseResult, Schema } from "effect"
import { tokensPerSecondMax, ttftMsMax } from "../http/AnswerSample.ts"
import type { Measured } from "./PerformanceBoard.ts"
import { fromSteps, type Hour, hourMs, skewMsMax, stepMs } from "./PerformanceState.ts"

/** Most bytes of a report: that of some hundred peers that answered all the hour, each in five hundred bytes a step. */
export const bytesMax = 1024 * 1024
/** Most series of a report. */
const seriesMax = 4_096
/** Steps of an hour, the one that it begins in, and those that a clock may be ahead. */
const stepsMax = hourMs / stepMs + 1 + skewMsMax / stepMs

/** Most samples of a step: what a directory is built for from all peers together, 5,000 a second. */
const samplesMax = (5_000 * stepMs) / 1_000

/** Accepts numbers that this entry would have measured itself. */
const upTo = (max: number) =>
  Sketch.pipe(
    Schema.filter((sketch) => count(sketch) <= samplesMax && (quantile(sketch, 1) ?? 0) <= max * (1 + relativeError), {
      message: () => `at most ${samplesMax} numbers of at most ${max}`
    })
  )

const Step = Schema.Struct({
  step: Schema.NonNegativeInt,
  ttftMs: upTo(ttftMsMax),
  tokensPerSecond: upTo(tokensPerSecondMax)
}).pipe(
  Schema.filter(({ tokensPerSecond, ttftMs }) => count(tokensPerSecond) <= count(ttftMs), {
    message: () => "no more rates than first texts"
  })
)

const Series = Schema.Struct({
  peer: PeerId,
  model: ModelDescription.fields.id,
  mode: Schema.Literal("solo", "split"),
  /** The oldest first, none twice. */
  steps: Schema.Array(Step).pipe(
    Schema.maxItems(stepsMax),
    Schema.filter((steps) => steps.every(({ step }, index) => index === 0 || step > (steps[index - 1]?.step ?? step)), {
      message: () => "the steps of a series are in order"
    })
  )
})

/** Represents a report. */
export const SampleReport = Schema.Struct({
  version: Schema.Literal(1),
  entry: PeerId,
  /** The entry's clock when it made the report. */
  nowMs: Schema.Int,
  series: Schema.Array(Series).pipe(Schema.maxItems(seriesMax))
})
export type SampleReport = typeof SampleReport.Type

/** Returns the report as JSON of at most `bytesMax`; where not all fits, what was measured last comes first. */
export const write = (entry: PeerId, measured: ReadonlyArray<Measured>, nowMs: number): string => {
  const newest = measured.toSorted((one, other) => lastStep(other.hour) - lastStep(one.hour))
  const series: Array<string> = []
  let left = bytesMax - headBytes
  for (const { hour, served } of newest.slice(0, seriesMax)) {
    const text = JSON.stringify({ ...served, steps: hour.steps })
    left -= Buffer.byteLength(text) + 1
    if (left < 0) break
    series.push(text)
  }
  return `{"version":1,"entry":"${entry}","nowMs":${nowMs},"series":[${series.join(",")}]}`
}

/** Returns what a report tells, or in words why it counts for nothing. */
export const read = (
  text: string,
  own: PeerId,
  nowMs: number
): Either.Either<{ readonly entry: PeerId; readonly measured: ReadonlyArray<Measured> }, string> => {
  const report = Either.mapLeft(decode(text), (error) => ParseResult.TreeFormatter.formatErrorSync(error).slice(0, 512))
  return Either.flatMap(report, ({ entry, nowMs: theirMs, series }) => {
    if (entry === own) return Either.left("it is this entry itself; take it out of WEFT_ENTRIES")
    if (Math.abs(theirMs - nowMs) > skewMsMax) {
      return Either.left("its clock and this one are more than ten minutes apart; set both right")
    }
    const measured = series.map(({ steps, ...served }) => ({ served, hour: fromSteps(steps) }))
    return Either.right({ entry, measured })
  })
}

// internal

/** What is around the series, generously. */
const headBytes = 256

const decode = Schema.decodeUnknownEither(Schema.parseJson(SampleReport))

const lastStep = ({ steps }: Hour): number => steps.at(-1)?.step ?? 0
