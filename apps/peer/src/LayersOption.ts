/** `--layers [NAME=]A-B` as owners write it: which layers of which model the peer lends. Pure. */
import type { StageRange } from "@weft/engine/stage/StageKeys"
import { Data, Either } from "effect"

/** Represents layers that were not written as they should be, or for no model. */
export class LayersRefused extends Data.TaggedError("LayersRefused")<{ readonly message: string }> {}

/** Returns the range for each model of `names`, absent where all its layers may be lent. */
export const parse = (
  texts: ReadonlyArray<string>,
  names: ReadonlyArray<string>
): Either.Either<ReadonlyMap<string, StageRange>, LayersRefused> => {
  const ranges = new Map<string, StageRange>()
  for (const text of texts) {
    const [, name = names.length === 1 ? names[0] : undefined, from, to] =
      /^(?:(.+)=)?(\d{1,3})-(\d{1,3})$/.exec(text) ?? []
    if (from === undefined || to === undefined || Number(from) >= Number(to))
      return refused(`'${text}' are no layers; write for example 0-12 for the first twelve`)
    if (name === undefined) return refused(`say of which model: --layers NAME=${text}, NAME one of ${names.join(", ")}`)
    if (!names.includes(name)) return refused(`--layers names ${name}, which is none of ${names.join(", ")}`)
    if (ranges.has(name)) return refused(`--layers is given twice for ${name}; one range of a model can be lent`)
    ranges.set(name, { from: Number(from), to: Number(to) })
  }
  return Either.right(ranges)
}

// internal

const refused = (message: string) => Either.left(new LayersRefused({ message }))
