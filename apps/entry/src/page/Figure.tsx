/** The smallest pieces of pages: a figure with its unit, a moment, and the state of not being measured. */
import type { ComponentChildren } from "preact"
import { exactly, type Measure, moment, type Zone } from "./Format.ts"

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
