/** How figures read on pages: short, their unit apart, a dash where there is none. Pure; runs on both sides. */

/** Represents a figure and what it is counted in. */
export interface Measure {
  readonly value: string
  readonly unit: string
}

/** What stands where nothing is known. */
export const none = "–"

/** Returns a number with as many digits as people compare: three. */
export const threeDigits = (value: number): string =>
  value >= 100 ? count(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

/** Returns a whole number in groups of three digits. */
export const count = (value: number): string => Math.round(value).toLocaleString("en-GB")

/** Returns milliseconds, in seconds from one second on. */
export const duration = (ms: number): Measure =>
  ms < 1000
    ? { value: ms < 10 ? ms.toFixed(1) : ms.toFixed(0), unit: "ms" }
    : { value: threeDigits(ms / 1000), unit: "s" }

/** Returns a part of one as a percentage. */
export const percent = (ratio: number): Measure => ({ value: (ratio * 100).toFixed(0), unit: "%" })

/** Returns bytes in decimal units, as disks and models are sold. */
export const bytes = (size: number): Measure => {
  const steps = ["B", "kB", "MB", "GB", "TB", "PB"]
  const step = Math.min(steps.length - 1, Math.floor(Math.log10(Math.max(1, size)) / 3))
  const value = size / 1000 ** step
  return { value: step === 0 ? count(value) : threeDigits(value), unit: steps[step] ?? "" }
}

/** Returns a span in its two largest units. */
export const span = (seconds: number): string => {
  const units = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1]
  ] as const
  const first = units.findIndex(([, size]) => seconds >= size)
  const shown = first === -1 ? units.slice(-1) : units.slice(first, first + 2)
  return shown
    .map(([unit, size], index) => {
      const above = index === 0 ? Number.POSITIVE_INFINITY : (shown[0]?.[1] ?? 1)
      return [Math.floor((seconds % above) / size), unit] as const
    })
    .filter(([value], index) => value > 0 || index === 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(" ")
}

/** Where the reader is: `utc` on the server, which does not know. */
export type Zone = "utc" | "local"

/** Returns a moment to the minute in the reader's zone. */
export const moment = (ms: number, zone: Zone): string =>
  new Date(ms).toLocaleString("en-GB", {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
    ...(zone === "utc" ? { timeZone: "UTC", timeZoneName: "short" } : {})
  })

/** Returns the exact moment. */
export const exactly = (ms: number): string => new Date(ms).toISOString()

/** Returns the end of a peer's id, enough to tell peers apart. */
export const shortId = (id: string): string => `…${id.slice(-6)}`
