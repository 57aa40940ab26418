/**
 * The same library and the same settings as the engine host's, driven in the caller's own process: what the way through
 * a mesh is measured against. For benchmarks alone, in a process of their own, as a fault in native code ends it.
 */
import { Schema } from "effect"
import * as BatchLoop from "./BatchLoop.ts"
import { EngineConfig } from "./EngineConfig.ts"
import { greedy } from "./Generation.ts"
import * as Llama from "./internal/llama/Llama.ts"

/** Represents a model that is driven directly; one thing at a time, every call runs to its end. */
export interface NativeBaseline {
  /** Returns the tokens of a text whose control tokens are meant, with the model's first token in front. */
  readonly tokenize: (text: string) => ReadonlyArray<number>
  /**
   * Answers one prompt by the shortest loop there is: the prompt in as few decodes as fit, then a decode and a greedy
   * draw per token. `onToken` is called after each draw. Returns the tokens drawn, `maxTokens` unless the answer ends.
   */
  readonly answer: (
    prompt: ReadonlyArray<number>,
    maxTokens: number,
    onToken: (token: number) => void
  ) => ReadonlyArray<number>
  /** Answers all prompts at once, greedily, by the engine's own batch loop; returns how many tokens came of each. */
  readonly answerAll: (prompts: ReadonlyArray<ReadonlyArray<number>>, maxTokens: number) => ReadonlyArray<number>
  readonly close: () => void
}

/** Represents what a baseline is opened with; the rest is as an engine has it by default. */
export type NativeBaselineOptions = Pick<typeof EngineConfig.Encoded, "contextTokens" | "slots" | "threads"> & {
  readonly path: string
}

/** Opens a model; throws an `EngineError` where that fails. */
export const open = (options: NativeBaselineOptions): NativeBaseline => {
  const config = Schema.decodeSync(EngineConfig)(options)
  const limits = { ...config, threads: config.threads ?? 1, pairRows: false }
  const rowsMax = BatchLoop.rowsMax(limits)
  const llama = Llama.open({ ...limits, path: options.path, rowsMax, onProgress: () => {} })
  const loop = BatchLoop.make(llama, limits)
  return {
    tokenize: (text) => [...(llama.firstToken === undefined ? [] : [llama.firstToken]), ...llama.tokenize(text, true)],
    answer: (prompt, maxTokens, onToken) => {
      const sampler = llama.openSampler(greedy, 0, prompt)
      const drawn: Array<number> = []
      // The batch loop keeps the cells of its last answer there; it sees that they are gone.
      llama.keep(soloSlot, 0)
      compute(llama, prompt, 0, rowsMax)
      while (true) {
        const token = sampler.draw(lastRow(prompt.length, drawn.length, rowsMax))
        drawn.push(token)
        onToken(token)
        if (drawn.length >= maxTokens || llama.endsAnswer(token)) break
        compute(llama, [token], prompt.length + drawn.length - 1, rowsMax)
      }
      sampler.close()
      llama.keep(soloSlot, 0)
      return drawn
    },
    answerAll: (prompts, maxTokens) => {
      const counts = prompts.map(() => 0)
      for (const [key, prompt] of prompts.entries()) {
        const request = {
          requestId: "",
          model: "",
          prompt: { _tag: "Tokens", tokens: prompt },
          sampling: greedy,
          maxTokens,
          stop: []
        } as const
        loop.submit(key, { request, prompt, seed: 0 })
      }
      while (!loop.idle()) {
        for (const [key, event] of loop.turn()) {
          if (event._tag === "Finished") counts[key] = event.usage.completionTokens
        }
      }
      return counts
    },
    close: llama.close
  }
}

// internal

/** The sequence of single answers; the batch loop's are all free while one runs. */
const soloSlot = 0

/** Returns the row the next token is drawn from: the last of the last decode. */
const lastRow = (promptTokens: number, drawnTokens: number, rowsMax: number): number =>
  drawnTokens === 0 ? (promptTokens - 1) % rowsMax : 0

/** Computes the cells of `tokens` from position `from` on, the logits of the last one alone. */
const compute = (llama: Llama.Llama, tokens: ReadonlyArray<number>, from: number, rowsMax: number): void => {
  const { position, sequence, token, wanted } = llama.rows
  for (let at = 0; at < tokens.length; at += rowsMax) {
    const rows = Math.min(rowsMax, tokens.length - at)
    for (let row = 0; row < rows; row++) {
      token[row] = tokens[at + row] ?? 0
      position[row] = from + at + row
      sequence[row] = soloSlot
      wanted[row] = at + row === tokens.length - 1 ? 1 : 0
    }
    const code = llama.decode(rows)
    if (code !== 0) throw new BatchLoop.DecodeFault(code)
  }
}
