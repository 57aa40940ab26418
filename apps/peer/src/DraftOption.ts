/** `--draft-model [NAME=]FILE` as owners write it: which file guesses for which of the models. Pure. */
import { Data, Either } from "effect"

/** Represents draft models that were not written as they should be. */
export class DraftsRefused extends Data.TaggedError("DraftsRefused")<{ readonly message: string }> {}

/** Returns the file for each model of `names`, absent where none is to guess; one without a name is for all others. */
export const parse = (
  texts: ReadonlyArray<string>,
  names: ReadonlyArray<string>
): Either.Either<ReadonlyMap<string, string>, DraftsRefused> => {
  const own = new Map<string, string>()
  let others: string | undefined
  for (const text of texts) {
    // A path may hold a `=` too.
    const name = names.find((one) => text.startsWith(`${one}=`))
    const file = name === undefined ? text : text.slice(name.length + 1)
    if (file === "") return refused(`'${text}' names no file; write --draft-model FILE.gguf or NAME=FILE.gguf`)
    if (name === undefined ? others !== undefined : own.has(name))
      return refused(`--draft-model is given twice for ${name ?? "all models"}; one file can guess for a model`)
    if (name === undefined) others = file
    else own.set(name, file)
  }
  const files = names.flatMap((name) => {
    const file = own.get(name) ?? others
    return file === undefined ? [] : [[name, file] as const]
  })
  return Either.right(new Map(files))
}

// internal

const refused = (message: string) => Either.left(new DraftsRefused({ message }))
