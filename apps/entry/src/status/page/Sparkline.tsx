/** Twenty-four hours of one figure in the height of a line: a bar for what was measured, a dot for what was not. */
import { threeDigits } from "../../page/Format.ts"

/** Sizes in the units of the drawing: as many pixels at most widths. */
const step = 5
const height = 24

/** Shows tokens per second by hour, the last hour at the right. */
export const Sparkline = ({ values }: { readonly values: ReadonlyArray<number | null> }) => {
  const measured = values.filter((value) => value !== null)
  const most = Math.max(...measured)
  const range = `${measured.length} measured, ${threeDigits(Math.min(...measured))} to ${threeDigits(most)} tok/s`
  const label = `Last 24 hours: ${measured.length === 0 ? "nothing measured" : range}`
  return (
    <svg class="sparkline" viewBox={`0 0 ${values.length * step} ${height}`} role="img" aria-label={label}>
      <title>{label}</title>
      {values.map((value, hour) => {
        const x = hour * step
        if (value === null) return <circle key={x} class="spark-none" cx={x + 2} cy={height - 1} r="0.9" />
        const size = Math.max(2, (value / most) * (height - 1))
        return <rect key={x} class="spark" x={x} y={height - size} width={step - 1.5} height={size} rx="0.75" />
      })}
    </svg>
  )
}
