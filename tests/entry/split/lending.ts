/** Models of eight equal layers that numbered peers lend. */
import type { Candidate, PlannedModel } from "@weft/engine/pipeline/PipelineCost"
import type * as SplitState from "@weft/entry/split/SplitState"
import { fromPublicKey, type PeerId } from "@weft/mesh/PeerId"

export const peer = (number: number): PeerId => fromPublicKey(new Uint8Array(32).fill(number))
const layerBytes = 10 * 2 ** 20
export const layers = 8

const planned: PlannedModel = {
  layerBytes: Array.from({ length: layers }, () => layerBytes),
  embeddingBytes: 0,
  headBytes: 0,
  sizeBytes: layers * layerBytes,
  cellBytesPerTokenLayer: 0,
  contextTokens: 64,
  slots: 2,
  headLayers: 0,
  allowedCuts: () => true
}

/** A model that the peers of these numbers lend, each with room for `room` layers. */
export const model = (
  id: string,
  numbers: ReadonlyArray<number>,
  changes: Partial<SplitState.SplitModel> = {},
  room = 5
): SplitState.SplitModel => {
  const candidates = numbers.map(
    (number): Candidate => ({
      id: peer(number),
      usableBytes: room * layerBytes * 1.1 + 1,
      layerMs: 1,
      held: [],
      struckOff: undefined,
      isReachable: true
    })
  )
  return {
    model: {
      id,
      sha256: "a".repeat(64),
      sizeBytes: planned.sizeBytes,
      architecture: "llama",
      quantization: "Q8_0",
      contextTokens: 64,
      slots: 2
    },
    planned,
    candidates,
    addresses: new Map(numbers.map((number) => [peer(number), `127.0.0.1:${number}`])),
    roundTrips: new Map(),
    isServedWhole: false,
    fingerprint: `${numbers.join()} ${room}`,
    ...changes
  }
}
