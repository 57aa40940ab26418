/** The smallest pieces of pages: a figure with its unit, a moment, a grade, and the state of not being measured. */
import type { ComponentChildren } from "preact"
import type { Efficiency } from "../StatusDocument.ts"
import { exactly, type Measure, moment, percent, type Zone } from "./Format.ts"

/** Shows a number with its unit small beside it. */
export const Figure = ({ value, unit }: Measure) => (
  <span class="figure">
    {value}
    <span class="unit"> {unit}</span>
  </span>
)

/** Shows that a figure is missing because nobody has measured it, which is no figure of zero. */
export const Unmeasured = ({ children = "not measured" }: { readonly children?: ComponentChildren }) => (
  <span class="unmeasured">{children}</span>
)

/** Shows the same where the words stand beside it already. */
export const Missing = () => (
  <span class="unmeasured">
    <span aria-hidden="true">–</span>
    <span class="hidden">not measured</span>
  </span>
)

/** Shows when something was, in the reader's zone; the exact time is its title. */
export const Moment = ({ ms, zone }: { readonly ms: number; readonly zone: Zone }) => (
  <time dateTime={exactly(ms)} title={exactly(ms)}>
    {moment(ms, zone)}
  </time>
)

/** Words of the grades: colour is never alone. */
const words = { green: "good", amber: "fair", red: "poor" } as const

/** Circumference of the ring below, whose radius is 6. */
const around = 2 * Math.PI * 6

/** Shows mesh efficiency as a ring that is filled so far, a percentage and a word. */
export const Grade = ({ grade, ratio }: Efficiency) =>
  ratio === null || grade === "unmeasured" ? (
    <span class="grade">
      <svg class="ring" viewBox="0 0 16 16" aria-hidden="true">
        <circle class="ring-none" cx="8" cy="8" r="6" />
      </svg>
      <Unmeasured />
    </span>
  ) : (
    <span class={`grade ${grade}`}>
      <svg class="ring" viewBox="0 0 16 16" aria-hidden="true">
        <circle class="ring-rest" cx="8" cy="8" r="6" />
        <circle
          class="ring-part"
          cx="8"
          cy="8"
          r="6"
          stroke-dasharray={`${(Math.min(1, ratio) * around).toFixed(2)} ${around.toFixed(2)}`}
          transform="rotate(-90 8 8)"
        />
      </svg>
      <Figure {...percent(ratio)} /> <span class="word">{words[grade]}</span>
    </span>
  )
