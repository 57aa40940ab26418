/** How many bytes the parts of a model have: what a plan of stages weighs before anything is cut. Pure. */
import { Either } from "effect"
import type { GgufHeader } from "../GgufHeader.ts"
import { StageRefused } from "./StageRefused.ts"
import { rulesOf } from "./StageRules.ts"
import { placeOf } from "./StageTensors.ts"

/**
 * Represents the bytes of a model's tensors by the part they belong to. A stage's file has those of its layers, the
 * shared ones, and at the ends embedding and head; besides a header and zeros that are never read, which
 * `StageLayout.make` counts too.
 */
export interface LayerSizes {
  /** One for each layer that answers run through, in their order. */
  readonly layerBytes: ReadonlyArray<number>
  /** What turns tokens into hidden states: in the first stage. */
  readonly embeddingBytes: number
  /** What turns hidden states into logits: in the last stage. Where it is the embedding again, its bytes again. */
  readonly headBytes: number
  /** What is in each stage. */
  readonly sharedBytes: number
}

/** Returns the sizes of the model's parts, or why it cannot be cut. */
export const layerSizes = (header: GgufHeader): Either.Either<LayerSizes, StageRefused> =>
  Either.flatMap(rulesOf(header), ({ layers }) =>
    Either.try({
      try: () => sum(header, layers),
      catch: (error) => {
        if (error instanceof StageRefused) return error
        throw error
      }
    })
  )

// internal

const sum = (header: GgufHeader, layers: number): LayerSizes => {
  const layerBytes = new Array<number>(layers).fill(0)
  let [embeddingBytes, headBytes, sharedBytes] = [0, 0, 0]
  for (const tensor of header.tensors) {
    const place = placeOf(tensor)
    if (place._tag === "Embedding") embeddingBytes += tensor.sizeBytes
    else if (place._tag === "Head") headBytes += tensor.sizeBytes
    else if (place._tag === "Shared") sharedBytes += tensor.sizeBytes
    else if (place.layer < layers) layerBytes[place.layer] = (layerBytes[place.layer] ?? 0) + tensor.sizeBytes
  }
  const isTied = !header.tensors.some(({ name }) => name === "output.weight")
  return { layerBytes, embeddingBytes, headBytes: headBytes + (isTied ? embeddingBytes : 0), sharedBytes }
}
