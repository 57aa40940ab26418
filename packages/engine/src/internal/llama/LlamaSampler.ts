/** How the tokens of one answer are drawn, by llama.cpp's samplers and a draw of our own at their end (`shim.c`). */
import type { Pointer } from "bun:ffi"
import type { Sampling } from "../../Generation.ts"
import { int, type Native } from "./Native.ts"

/** Below this, dividing by the temperature overflows float32; the draw is greedy long before. */
const temperatureMin = 1e-3
/** Prompt tokens the repeat penalty looks back, as many as the shim's window holds. */
const repeatWindow = 64

/** Represents the state of drawing for one answer; `close` frees it. */
export interface Sampler {
  /** Returns the token drawn from output row `row` of the last decode. */
  readonly draw: (row: number) => number
  /** Takes a token drawn elsewhere as the answer's next. */
  readonly accept: (token: number) => void
  readonly close: () => void
}

/** Returns the state of drawing for an answer to `prompt` that has at most `contextTokens` tokens. */
export const open = (
  native: Native,
  handle: Pointer,
  sampling: Sampling,
  seed: number,
  prompt: ArrayLike<number>,
  contextTokens: number
): Sampler => {
  // llama_logit_bias: int32 token, float bias; one spare entry, as an empty array has no address.
  const biases = new Uint8Array(8 * (sampling.logitBias.length + 1))
  const entries = new DataView(biases.buffer)
  sampling.logitBias.forEach(([token, bias], index) => {
    entries.setInt32(index * 8, token, true)
    entries.setFloat32(index * 8 + 4, bias, true)
  })
  const seen = Int32Array.from(Array.prototype.slice.call(prompt, -repeatWindow))
  const chain = native.sampler_open(
    handle,
    sampling.temperature < temperatureMin ? 0 : sampling.temperature,
    int(sampling.topK),
    sampling.topP,
    sampling.minP,
    sampling.repeatPenalty,
    sampling.frequencyPenalty,
    sampling.presencePenalty,
    int(seed),
    biases,
    sampling.logitBias.length,
    seen,
    seen.length,
    int(contextTokens)
  )
  return {
    draw: (row) => native.sampler_draw(handle, chain, int(row)),
    accept: (token) => native.sampler_accept(handle, chain, int(token)),
    close: () => native.sampler_close(chain)
  }
}
