/** Lines for people or for programs: every verb prints through here, so `--json` means the same everywhere. */
import { Console, Effect } from "effect"

/** Prints `value` as one line of JSON, or the lines that `text` makes of it. */
export const print = <A>(json: boolean, value: A, text: (value: A) => ReadonlyArray<string>): Effect.Effect<void> =>
  json
    ? Console.log(JSON.stringify(value))
    : Effect.forEach(text(value), (line) => Console.log(line), { discard: true })

/** Returns the rows with every column but the last padded to its widest cell. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd()
  )
}

/**
 * Returns text with what a hostile peer or file may steer a terminal or its reader with made visible: control
 * characters, line separators, and marks that reorder what follows (https://www.unicode.org/reports/tr9/).
 */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.charCodeAt(0)
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`
  })
