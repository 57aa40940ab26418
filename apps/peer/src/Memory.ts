/** Amounts of memory as people write them, and the refusal of models that do not fit. Pure. */
import { Data, Either } from "effect"

/** Represents memory that is not enough, or not written as an amount. */
export class MemoryRefused extends Data.TaggedError("MemoryRefused")<{ readonly message: string }> {}

/** A model needs its file in memory, and a tenth more for buffers (the election's own rule). */
export const memoryFactor = 1.1

const factors: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40
}

/** Returns the bytes of an amount such as `6GiB`, `6g`, `512MB` or `1000000`. */
export const parse = (amount: string): Either.Either<number, MemoryRefused> => {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?$/i.exec(amount.trim()) ?? []
  const bytes = Math.round(Number(digits) * (factors[(unit ?? "").toLowerCase()] ?? Number.NaN))
  return Number.isSafeInteger(bytes)
    ? Either.right(bytes)
    : Either.left(new MemoryRefused({ message: `'${amount}' is no amount of memory; write for example 6GiB` }))
}

/** Returns the refusal of files of these sizes, of which not even a layer fits into `memoryBytes`. */
export const tooLittle = (sizesBytes: ReadonlyArray<number>, memoryBytes: number): MemoryRefused => {
  const needed = sizesBytes.reduce((sum, size) => sum + size, 0) * memoryFactor
  const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`
  return new MemoryRefused({
    message:
      `The models need about ${mib(needed)}, and ${mib(memoryBytes)} may be used. ` +
      "Lend more with --max-memory, free some, or serve a smaller model."
  })
}
