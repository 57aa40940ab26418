/** The labels that a request asks for in `x-weft-region` and `x-weft-trust`, with those that its key requires. Pure. */
import { Label, type Labels } from "@weft/mesh/Labels"
import { Either, Schema } from "effect"
import { type ApiError, invalidRequest } from "../OpenAiError.ts"

/**
 * Returns the labels that the answering peer must carry, or a 400 that names the header: where it is none, or not the
 * one that the key requires.
 */
export const of = (headers: Headers, required: Labels): Either.Either<Labels, ApiError> => {
  const region = headers.get("x-weft-region")
  const trust = headers.get("x-weft-trust")
  if (region === null && trust === null) return Either.right(required)
  const wrong = wrongOf("region", region, required) ?? wrongOf("trust", trust, required)
  if (wrong !== undefined) return Either.left(wrong)
  return Either.right({ ...required, ...(region === null ? {} : { region }), ...(trust === null ? {} : { trust }) })
}

// internal

const isLabel = Schema.is(Label)

const wrongOf = (kind: "region" | "trust", asked: string | null, required: Labels): ApiError | undefined => {
  if (asked === null) return undefined
  const header = `x-weft-${kind}`
  if (!isLabel(asked)) {
    return invalidRequest(`The header '${header}' must be 1 to 32 of a-z, 0-9 and -, for example eu-west.`, header)
  }
  const needed = required[kind]
  return needed === undefined || needed === asked
    ? undefined
    : invalidRequest(`Your API key requires the ${kind} '${needed}'. Leave the header '${header}' out.`, header)
}
