/**
 * One chart over hours, drawn by uPlot, which is loaded when the first chart is about to be seen. Owns the chart and
 * watches its own width and the page's theme; the place is as high before as after, so that nothing moves.
 */
import { useEffect, useRef } from "preact/hooks"
import type uPlot from "uplot"
import type { Zone } from "../../page/Format.ts"

/** How a series looks: tokens of the stylesheet, so that both themes have their own. */
export type Tone = "accent" | "ink" | "soft" | "fair" | "poor"

/** Represents one series; values are by hour, the oldest first. */
export interface PlotSeries {
  readonly label: string
  readonly values: ReadonlyArray<number | null>
  readonly tone: Tone
  readonly isDashed?: boolean
}

/** Represents a chart. */
export interface PlotProps {
  /** What it shows, for those who do not see it. */
  readonly label: string
  readonly series: ReadonlyArray<PlotSeries>
  /** Bars stand on each other, in the order of the series. */
  readonly kind: "lines" | "bars"
  readonly fromMs: number
  /** A value as the legend has it; the axis has its round ones. */
  readonly format: (value: number) => string
  readonly formatAxis: (value: number) => string
  readonly zone: Zone
}

/** Shows a chart, or that there is nothing to show. */
export const Plot = (props: PlotProps) => {
  const place = useRef<HTMLDivElement>(null)
  const isEmpty = props.series.every(({ values }) => values.every((value) => value === null || value === 0))
  const content = JSON.stringify([props.fromMs, props.kind, props.zone, props.series])
  // A live page makes new props with the same content.
  useEffect(() => {
    const element = place.current
    return element === null || isEmpty ? undefined : draw(element, props)
  }, [content, isEmpty])
  return (
    <figure class="plot">
      <figcaption>{props.label}</figcaption>
      <div class={`plot-place ${props.kind}`} ref={place} role="img" aria-label={describe(props, isEmpty)}>
        {isEmpty && <span class="unmeasured">none in this time</span>}
      </div>
    </figure>
  )
}

// internal

/** Pixels; the stylesheet reserves it, and the legend's line below. */
const heightPx = 160

const describe = ({ format, label, series }: PlotProps, isEmpty: boolean): string =>
  isEmpty
    ? `${label}: nothing measured`
    : `${label}: ${series
        .map(({ label: name, values }) => {
          const known = values.filter((value) => value !== null)
          return known.length === 0 ? `${name} nothing` : `${name} at most ${format(Math.max(...known))}`
        })
        .join(", ")}`

/** Draws as soon as the place has a width, and again when width or theme change; returns what ends it. */
const draw = (element: HTMLElement, props: PlotProps): (() => void) => {
  let chart: uPlot | undefined
  let isOver = false
  const dark = matchMedia("(prefers-color-scheme: dark)")
  const redraw = (): void => {
    const width = Math.floor(element.clientWidth)
    if (width === 0) return
    void import("uplot").then(({ default: make }) => {
      if (isOver) return
      chart?.destroy()
      chart = new make(optionsOf(make, element, width, props), dataOf(props), element)
    })
  }
  const resized = new ResizeObserver(() => (chart?.width === Math.floor(element.clientWidth) ? undefined : redraw()))
  resized.observe(element)
  const themed = new MutationObserver(redraw)
  themed.observe(document.documentElement, { attributeFilter: ["data-theme"] })
  dark.addEventListener("change", redraw)
  return () => {
    isOver = true
    resized.disconnect()
    themed.disconnect()
    dark.removeEventListener("change", redraw)
    chart?.destroy()
  }
}

const dataOf = ({ fromMs, kind, series }: PlotProps): uPlot.AlignedData => {
  const hours = series[0]?.values.length ?? 0
  const times = Array.from({ length: hours }, (_, hour) => fromMs / 1000 + hour * 3600)
  if (kind === "lines") return [times, ...series.map(({ values }) => [...values])]
  const stacked = series.map((_, top) =>
    times.map((_, hour) => series.slice(0, top + 1).reduce((sum, { values }) => sum + (values[hour] ?? 0), 0))
  )
  return [times, ...stacked.toReversed()]
}

const optionsOf = (make: typeof uPlot, element: HTMLElement, width: number, props: PlotProps): uPlot.Options => {
  const tokens = getComputedStyle(element)
  const colour = (name: string): string => tokens.getPropertyValue(`--${name}`).trim()
  const { format, formatAxis, kind, series, zone } = props
  const drawn = kind === "bars" ? series.toReversed() : series
  const axis = {
    stroke: colour("soft"),
    font: `12px ${tokens.fontFamily}`,
    grid: { stroke: colour("rule"), width: 1 },
    ticks: { show: false }
  }
  return {
    width,
    height: heightPx,
    ...(zone === "utc" ? { tzDate: (seconds: number) => make.tzDate(new Date(seconds * 1000), "Etc/UTC") } : {}),
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      // half an hour on both sides, so that the first and the last bar are whole
      x: { range: (_, first, last) => [first - 1_800, last + 1_800] },
      y: { range: (_, __, most) => [0, most === 0 ? 1 : most * 1.1] }
    },
    axes: [
      {
        ...axis,
        size: 28,
        grid: { show: false },
        values: (_, splits) => splits.map((at) => hourName(at, splits, zone))
      },
      { ...axis, size: 52, space: 36, values: (_, splits) => splits.map((value) => formatAxis(value)) }
    ],
    series: [
      { label: "Hour" },
      ...drawn.map(
        ({ isDashed, label, tone, values }): uPlot.Series => ({
          label,
          stroke: colour(tone),
          width: 1.5,
          value: (_, __, ___, hour) => {
            const value = hour === null ? null : values[hour]
            return value == null ? "" : format(value)
          },
          ...(kind === "bars"
            ? { fill: colour(tone), width: 0, paths: barsOf(make), points: { show: false } }
            : {
                spanGaps: false,
                points: { show: true, size: 5, fill: colour(tone), filter: () => isolated(values) },
                ...(isDashed ? { dash: [5, 4] } : {})
              })
        })
      )
    ]
  }
}

/** Days where the chart is long, hours of the day where it is short. */
const hourName = (seconds: number, splits: ReadonlyArray<number>, zone: Zone): string => {
  const isLong = (splits[1] ?? seconds) - (splits[0] ?? seconds) >= 86_400
  return new Date(seconds * 1000).toLocaleString("en-GB", {
    ...(isLong ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" }),
    ...(zone === "utc" ? { timeZone: "UTC" } : {})
  })
}

/** Hours that no line reaches, as neither neighbour was measured. */
const isolated = (values: PlotSeries["values"]): Array<number> =>
  values.flatMap((value, hour) => {
    const isAlone = value !== null && values[hour - 1] == null && values[hour + 1] == null
    return isAlone ? [hour] : []
  })

/** Bars take most of their hour, and are never wider than a finger. */
const barsOf = (make: typeof uPlot): uPlot.Series.PathBuilder => {
  const bars = make.paths.bars?.({ size: [0.7, 24] })
  return bars ?? (() => null)
}
