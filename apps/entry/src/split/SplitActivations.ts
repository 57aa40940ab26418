/**
 * How models of each architecture hand hidden states on where they are split, as `WEFT_SPLIT_ACTIVATIONS` lists it.
 * Pure. What is not listed is exact.
 */
import { ActivationType } from "@weft/engine/pipeline/Activations"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Data, Either, Schema } from "effect"

/** Represents the types of those architectures that have another than `f32`, or say it. */
export type SplitActivations = ReadonlyMap<string, ActivationType>

/** Most architectures of a list; there are not as many. */
export const architecturesMax = 256

/** Represents a part of `WEFT_SPLIT_ACTIVATIONS` that is none. */
export class SplitActivationsError extends Data.TaggedError("SplitActivationsError")<{
  /** As it was written, cut to 64 characters. */
  readonly part: string
  readonly reason: string
}> {
  override get message(): string {
    const form = `architecture:type, separated by commas, e.g. llama:f16,qwen3:q8; a type is ${types}`
    return `'${this.part}': ${this.reason}. Write ${form}.`
  }
}

/** Returns the types of a list `architecture:type,…`. */
export const parseList = (list: string): Either.Either<SplitActivations, SplitActivationsError> => {
  const activations = new Map<string, ActivationType>()
  for (const part of list.split(",").map((one) => one.trim())) {
    if (part === "") continue
    const wrong = (reason: string) => Either.left(new SplitActivationsError({ part: part.slice(0, 64), reason }))
    const [, architecture, type] = part.match(/^([a-z0-9][a-z0-9._-]{0,63})\s*:\s*(\S*)$/) ?? []
    if (architecture === undefined) return wrong("it does not begin with the name of an architecture and a colon")
    if (!isType(type)) return wrong("there is no such type")
    if (activations.has(architecture)) return wrong("this architecture is there twice")
    if (activations.size >= architecturesMax) return wrong(`there are more than ${architecturesMax} parts`)
    activations.set(architecture, type)
  }
  return Either.right(activations)
}

/** Tells whether a peer that serves a model in this way gives exact answers: whole, or split with nothing rounded. */
export const isExact = (
  activations: SplitActivations,
  { architecture, stages }: Pick<ModelDescription, "architecture" | "stages">
): boolean => stages === undefined || (activations.get(architecture) ?? "f32") === "f32"

// internal

const isType = Schema.is(ActivationType)
const types = ActivationType.literals.join(", ")
