/**
 * A model that is arithmetic, in the place of llama.cpp under a stage's loop: each layer folds its row into all the
 * cells that the sequence holds in it, so that a row that is lost, doubled, stale, crossed or out of order, and a cell
 * too many or too few, changes the tokens that follow. Cut anywhere, it gives the same tokens.
 */
import type { Sampling } from "@weft/engine/Generation"
import { rowsMax } from "@weft/engine/pipeline/StageWindow"
import type { StageRange } from "@weft/engine/stage/StageKeys"
import type { Sampler } from "../../../packages/engine/src/internal/llama/LlamaSampler.ts"
import type { LlamaStage } from "../../../packages/engine/src/internal/llama/LlamaStage.ts"
import type { LlamaText } from "../../../packages/engine/src/internal/llama/LlamaText.ts"

/** Layers of the model. */
export const layers = 6
/** Values of a hidden state: the halves of 32 bits, which floats hold exactly. */
export const width = 2
/** Tokens that there are. */
export const vocabularyTokens = 40

/** The token that ends an answer. */
const endToken = 1

const encoder = new TextEncoder()

/** The vocabulary: each token's text is its number. */
export const text: LlamaText = {
  vocabularyTokens,
  firstToken: undefined,
  beginText: "",
  endText: "",
  chatTemplate: undefined,
  controlTokens: [],
  pieceBytesMax: 3,
  tokenize: () => new Int32Array(0),
  piece: (token) => encoder.encode(`${token} `),
  endsAnswer: (token) => token === endToken
}

/** Represents the stage to open. */
export interface ArithmeticOptions extends StageRange {
  readonly slots: number
  /** Told the rows of each decode. */
  readonly onDecode?: (rows: number) => void
}

/** Opens a stage; it throws where a loop does what llama.cpp would not forgive. */
export const open = (options: ArithmeticOptions): LlamaStage => new Stage(options)

/** Represents an answer to ask for. */
export interface Task {
  readonly prompt: ReadonlyArray<number>
  readonly sampling: Sampling
  readonly seed: number
  readonly maxTokens: number
}

/** Returns the answer of the whole model, without the token that ends it. */
export const answerOf = ({ maxTokens, prompt, sampling, seed }: Task): ReadonlyArray<number> => {
  const whole = open({ from: 0, to: layers, slots: 1 })
  const sampler = whole.openSampler(sampling, seed, prompt)
  const tokens = [...prompt]
  while (tokens.length < prompt.length + maxTokens) {
    const from = tokens.length === prompt.length ? 0 : tokens.length - 1
    const fed = tokens.slice(from)
    for (const [row, token] of fed.entries()) {
      whole.rows.token[0] = token
      whole.rows.position[0] = from + row
      whole.rows.wanted[0] = 1
      whole.decode(1)
    }
    const token = sampler.draw(0)
    if (token === endToken) break
    tokens.push(token)
  }
  return tokens.slice(prompt.length)
}

// internal

const mix = (hash: number, value: number): number => {
  const mixed = Math.imul(hash ^ value, 0x9e37_79b1)
  return (mixed ^ (mixed >>> 15)) >>> 0
}

/** The cells of one layer and sequence: what each row left, folded with all before it. */
interface Cells {
  positions: Array<number>
  folds: Array<number>
}

class Stage implements LlamaStage {
  readonly isFirst: boolean
  readonly isLast: boolean
  readonly width = width
  readonly vocabularyTokens: number | undefined
  readonly text: LlamaText | undefined
  readonly hidden: Float32Array
  readonly output: Float32Array
  readonly rows = {
    token: new Int32Array(rowsMax),
    position: new Int32Array(rowsMax),
    sequence: new Int32Array(rowsMax),
    wanted: new Int8Array(rowsMax)
  }
  readonly #options: ArithmeticOptions
  /** By slot, then by layer. */
  readonly #cells: ReadonlyArray<ReadonlyArray<Cells>>
  /** Of the last decode. */
  #results = new Uint32Array(0)

  constructor(options: ArithmeticOptions) {
    const { from, slots, to } = options
    this.#options = options
    this.isFirst = from === 0
    this.isLast = to === layers
    this.vocabularyTokens = this.isFirst || this.isLast ? vocabularyTokens : undefined
    this.text = this.isFirst ? text : undefined
    this.hidden = new Float32Array(this.isFirst ? 0 : rowsMax * width)
    this.output = new Float32Array(this.isLast ? 0 : rowsMax * width)
    this.#cells = Array.from({ length: slots }, () =>
      Array.from({ length: to - from }, () => ({ positions: [], folds: [] }))
    )
  }

  decode(count: number): number {
    this.#checkShape(count)
    this.#options.onDecode?.(count)
    this.#results = new Uint32Array(count)
    for (let row = 0; row < count; row++) {
      const result = this.#through(row, this.#entering(row))
      this.#results[row] = result
      if (this.isLast) continue
      this.output[row * width] = result >>> 16
      this.output[row * width + 1] = result & 0xffff
    }
    return 0
  }

  useThreads(): void {}

  keep(slot: number, count: number): boolean {
    for (const cells of this.#cells[slot] ?? []) {
      const kept = cells.positions.filter((position) => position < count).length
      cells.positions.length = kept
      cells.folds.length = kept
    }
    return true
  }

  openSampler({ temperature }: Sampling, seed: number, prompt: ArrayLike<number>): Sampler {
    let seen = 0
    const accept = (token: number): void => {
      seen = mix(seen, token + 1)
    }
    for (let at = 0; at < prompt.length; at++) accept(prompt[at] ?? 0)
    return {
      accept,
      draw: (row) => {
        if (this.rows.wanted[row] !== 1) throw new Error(`nobody wanted row ${row}`)
        const result = this.#results[row] ?? 0
        const drawn = temperature === 0 ? result : mix(mix(result, seed), seen)
        const token = tokenOf(drawn, this.rows.position[row] ?? 0)
        accept(token)
        return token
      },
      close: () => {}
    }
  }

  close(): void {}

  /** llama.cpp gives the rows of sequences that are not as long as each other out of their order. */
  #checkShape(count: number): void {
    const lengths = new Map<number, number>()
    for (const sequence of this.rows.sequence.subarray(0, count))
      lengths.set(sequence, (lengths.get(sequence) ?? 0) + 1)
    if (new Set(lengths.values()).size > 1) throw new Error("sequences of unequal length in one decode")
  }

  #entering(row: number): number {
    if (this.isFirst) return mix(0x9747_b28c, this.rows.token[row] ?? 0)
    return (((this.hidden[row * width] ?? 0) << 16) | (this.hidden[row * width + 1] ?? 0)) >>> 0
  }

  #through(row: number, entering: number): number {
    const position = this.rows.position[row] ?? 0
    const cells = this.#cells[this.rows.sequence[row] ?? 0] ?? []
    let hash = entering
    for (const [index, { folds, positions }] of cells.entries()) {
      hash = mix(mix(hash, this.#options.from + index), position)
      hash = mix(mix(hash, folds.length), folds.at(-1) ?? 0)
      positions.push(position)
      folds.push(hash)
    }
    return hash
  }
}

/** Tokens often go in a circle, so that guesses are worth while. */
const tokenOf = (hash: number, position: number): number =>
  hash % 4 > 0 ? 2 + (position % 5) : (hash >>> 8) % vocabularyTokens
