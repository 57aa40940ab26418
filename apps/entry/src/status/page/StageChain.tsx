/** The stages of a split as they are joined: layers in boxes, round trips on the edges, the way of a token back. */

import { duration } from "../../page/Format.ts"
import type { Stage } from "../StatusDocument.ts"

/** Sizes in pixels: a box holds `504–512` and a name of about fourteen characters. */
const boxWidth = 132
const boxHeight = 54
const gap = 84
const top = 10
const bottom = 44

/** Shows a chain; it is as wide as it has stages, and scrolls where there is less room. */
export const StageChain = ({ stages }: { readonly stages: ReadonlyArray<Stage> }) => {
  const width = stages.length * boxWidth + (stages.length - 1) * gap
  const height = top + boxHeight + bottom
  const left = (index: number): number => index * (boxWidth + gap)
  const middle = top + boxHeight / 2
  const last = stages.at(-1)
  const backFrom = left(stages.length - 1) + boxWidth / 2
  const backY = top + boxHeight + 26
  const parts = stages.map(({ from, name, to }) => `layers ${from} to ${to - 1} on ${name}`)
  const label = `Stages: ${parts.join(", then ")}`
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
    <section class="chain" aria-label={label} tabIndex={0}>
      <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
        {stages.map(({ from, name, nextRttMs, peer, to }, index) => (
          <g key={peer}>
            <rect class="stage" x={left(index) + 0.5} y={top} width={boxWidth - 1} height={boxHeight} rx="6" />
            <text class="stage-layers" x={left(index) + boxWidth / 2} y={top + 23} text-anchor="middle">
              {`${from}–${to - 1}`}
            </text>
            <text class="stage-name" x={left(index) + boxWidth / 2} y={top + 42} text-anchor="middle">
              {short(name || peer.slice(-6))}
            </text>
            {index < stages.length - 1 && (
              <>
                <path class="edge" d={`M${left(index) + boxWidth} ${middle}h${gap - 6}`} marker-end="url(#tip)" />
                <text class="edge-label" x={left(index) + boxWidth + gap / 2} y={middle - 8} text-anchor="middle">
                  {roundTrip(nextRttMs)}
                </text>
              </>
            )}
          </g>
        ))}
        <path
          class="edge back"
          d={`M${backFrom} ${top + boxHeight}V${backY}H${boxWidth / 2}V${top + boxHeight + 6}`}
          marker-end="url(#tip)"
        />
        <text class="edge-label" x={(backFrom + boxWidth / 2) / 2} y={backY + 14} text-anchor="middle">
          {`the drawn token goes back, ${roundTrip(last?.nextRttMs ?? null)}`}
        </text>
        <defs>
          <marker id="tip" viewBox="0 0 6 6" refX="1" refY="3" markerWidth="6" markerHeight="6" orient="auto">
            <path class="tip" d="M0 0L6 3L0 6Z" />
          </marker>
        </defs>
      </svg>
    </section>
  )
}

// internal

const roundTrip = (ms: number | null): string => {
  if (ms === null) return "not measured"
  const { unit, value } = duration(ms)
  return `≤ ${value} ${unit}`
}

/** Longer names do not fit a box; the table beside has them whole. */
const short = (name: string): string => (name.length > 14 ? `${name.slice(0, 13)}…` : name)
