/** JSON from a network, where the page has no library for it: what it holds is looked at field by field. */

/** Returns the value of JSON text; undefined where it is none. */
export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Returns a field of an object or an element of an array; undefined where there is no such thing. */
export const field = (value: unknown, ...path: ReadonlyArray<string | number>): unknown =>
  path.reduce<unknown>(
    // whatever it is, it has fields now
    (at, key) => (typeof at === "object" && at !== null ? (at as Record<string | number, unknown>)[key] : undefined),
    value
  )

/** Returns a string, cut at `lengthMax`; undefined where it is none. */
export const textOf = (value: unknown, lengthMax: number): string | undefined =>
  typeof value === "string" ? value.slice(0, lengthMax) : undefined
