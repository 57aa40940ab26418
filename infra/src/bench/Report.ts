/**
 * What a benchmark says when it is done: figures, and the goals they are held to. Printed as one JSON object for
 * programs, as lines for people; an unmet goal makes the exit code 1.
 */

/** Represents one goal and what was measured. */
export interface Reach {
  /** What the value is, with its unit. */
  readonly what: string
  /** NaN where nothing could be measured; printed as null, and never met. */
  readonly value: number
  readonly goal: string
  readonly met: boolean
}

/** Represents the outcome of one run; all figures come from this run. */
export interface Report {
  readonly name: string
  /** Plain JSON: numbers with the unit at the end of their names, and lists of them in the order they were taken. */
  readonly figures: Readonly<Record<string, unknown>>
  readonly reach: ReadonlyArray<Reach>
}

/** Returns the goal that `value` is at least `bound`. */
export const atLeast = (what: string, value: number, bound: number): Reach => ({
  what,
  value,
  goal: `≥ ${bound}`,
  met: value >= bound
})

/** Returns the goal that `value` is at most `bound`. */
export const atMost = (what: string, value: number, bound: number): Reach => ({
  what,
  value,
  goal: `≤ ${bound}`,
  met: value <= bound
})

/** Returns 0 where every goal is met, 1 where one is not; a report without goals proves nothing and is a 1. */
export const exitCodeOf = ({ reach }: Report): 0 | 1 => (reach.length > 0 && reach.every(({ met }) => met) ? 0 : 1)

/** Returns the report as one line of JSON. */
export const toJson = ({ figures, name, reach }: Report): string =>
  JSON.stringify({ name, figures, reach }, (_, value: unknown) => (typeof value === "number" ? rounded(value) : value))

/** Returns the report as lines for a terminal: the figures, then the goals. */
export const toText = ({ figures, name, reach }: Report): string => {
  const wide = Math.max(0, ...reach.map(({ what }) => what.length))
  return [
    name,
    ...flatten(figures).map(([key, value]) => `  ${key}  ${value}`),
    "",
    ...reach.map(
      ({ goal, met, value, what }) => `  ${met ? "met  " : "UNMET"} ${what.padEnd(wide)}  ${rounded(value)}  (${goal})`
    )
  ].join("\n")
}

// internal

/** Four significant digits say more than any of these measurements can. */
const rounded = (value: number): number => (Number.isInteger(value) ? value : Number(value.toPrecision(4)))

const flatten = (value: unknown, prefix = ""): ReadonlyArray<readonly [key: string, value: string]> => {
  if (Array.isArray(value)) {
    const isFlat = value.every((one) => typeof one !== "object")
    if (isFlat) return [[prefix, value.map((one) => (typeof one === "number" ? rounded(one) : one)).join(" ")]]
    return value.flatMap((one, index) => flatten(one, `${prefix}[${index}]`))
  }
  if (typeof value === "object" && value !== null)
    return Object.entries(value).flatMap(([key, one]) => flatten(one, prefix === "" ? key : `${prefix}.${key}`))
  return [[prefix, String(typeof value === "number" ? rounded(value) : value)]]
}
