/** The charts of some hours: requests by who served them, tokens per second, and time to first text. */

import { count, duration, threeDigits, type Zone } from "../../page/Format.ts"
import type { History } from "../StatusDocument.ts"
import { Plot, type PlotSeries, type Tone } from "./Plot.tsx"

/** Represents what the charts show. */
export interface HistoryPlotsProps {
  readonly history: History
  /** The one model that is shown; all of them where absent. */
  readonly only?: string
  readonly zone: Zone
}

/** Shows three charts beside each other, or below where there is little room. */
export const HistoryPlots = ({ history, only, zone }: HistoryPlotsProps) => {
  const models = history.models.filter(({ id }) => only === undefined || id === only)
  const drawn = mostUsed(models)
  const lines = (values: (model: History["models"][number]) => PlotSeries["values"]): ReadonlyArray<PlotSeries> =>
    drawn.map((model, index) => ({
      label: model.id,
      values: values(model),
      ...(looks[index % looks.length] ?? looks[0])
    }))
  if (models.length === 0) {
    return <p class="nothing">Nothing was asked in this time. The first answer through the mesh begins the curves.</p>
  }
  const chart = { fromMs: history.fromMs, zone }
  return (
    <div class="plots">
      <Plot
        {...chart}
        kind="bars"
        label="Requests per hour, by who served them"
        series={served(history, models)}
        format={count}
        formatAxis={wholeOnly}
      />
      <Plot
        {...chart}
        kind="lines"
        label="Tokens per second, median"
        series={lines((one) => one.tokensPerSecond)}
        format={threeDigits}
        formatAxis={String}
      />
      <Plot
        {...chart}
        kind="lines"
        label="Time to first text, median"
        series={lines((one) => one.ttftMs)}
        format={inTime}
        formatAxis={onAxis}
      />
    </div>
  )
}

// internal

type Columns = History["models"][number]

/** More lines than this cannot be told apart. */
const linesMax = 6

const looks: readonly [{ tone: Tone; isDashed: boolean }, ...ReadonlyArray<{ tone: Tone; isDashed: boolean }>] = [
  { tone: "accent", isDashed: false },
  { tone: "ink", isDashed: false },
  { tone: "soft", isDashed: false },
  { tone: "accent", isDashed: true },
  { tone: "ink", isDashed: true },
  { tone: "soft", isDashed: true }
]

const measured = ({ ttftMs }: Columns): number => ttftMs.filter((value) => value !== null).length

const mostUsed = (models: ReadonlyArray<Columns>): ReadonlyArray<Columns> =>
  models.toSorted((one, other) => measured(other) - measured(one)).slice(0, linesMax)

const served = ({ hours }: History, models: ReadonlyArray<Columns>): ReadonlyArray<PlotSeries> => {
  const sum = (kind: "mesh" | "fallback" | "refused"): ReadonlyArray<number> =>
    Array.from({ length: hours }, (_, hour) => models.reduce((all, model) => all + (model[kind][hour] ?? 0), 0))
  return [
    { label: "mesh", values: sum("mesh"), tone: "accent" },
    { label: "fallback", values: sum("fallback"), tone: "fair" },
    { label: "refused", values: sum("refused"), tone: "poor" }
  ]
}

const inTime = (ms: number): string => {
  const { unit, value } = duration(ms)
  return `${value} ${unit}`
}

/** There are no half requests. */
const wholeOnly = (value: number): string => (Number.isInteger(value) ? count(value) : "")

/** Milliseconds as an axis names its round steps. */
const onAxis = (ms: number): string => (ms === 0 ? "0" : ms < 1_000 ? `${ms} ms` : `${ms / 1_000} s`)
