/**
 * One loaded model and its context in this process: llama.cpp through the C shim. It belongs to the engine host,
 * which is one thread; every call runs to its end. What cannot work throws an `EngineError`; a fault in native code
 * ends the process.
 */
import { cc, type Pointer } from "bun:ffi"
import { join } from "node:path"
import type { Sampling } from "../../Generation.ts"
import * as LlamaSampler from "./LlamaSampler.ts"
import * as LlamaText from "./LlamaText.ts"
import * as Native from "./Native.ts"

/** What `decode` returns where it was given up at its deadline. */
export const decodeGivenUp = 2

/** Represents how much a model is to compute; the counts are bounds of native buffers. */
export interface LlamaSizes {
  readonly contextTokens: number
  readonly slots: number
  /** Most rows of one decode. */
  readonly rowsMax: number
  readonly threads: number
}

/** Represents what a model is opened with. */
export type LlamaOptions = Native.ModelLoading & LlamaSizes

/** Represents the rows of the next decode; the first `rows` entries count. */
export interface Rows {
  readonly token: Int32Array
  readonly position: Int32Array
  readonly sequence: Int32Array
  /** 1 where a token is drawn from the row. */
  readonly wanted: Int8Array
}

/** Represents the decodes of an open model, and the cells that come of them. */
export interface LlamaCells {
  readonly rows: Rows
  /**
   * Computes the first `count` rows; returns llama.cpp's code: 0 where all went well, `decodeGivenUp` where it took
   * more than `deadlineMs` (none where absent): then some of the rows may have their cells.
   */
  readonly decode: (count: number, deadlineMs?: number) => number
  /** Sets the threads of the decodes to come. */
  readonly useThreads: (count: number) => void
  /** Keeps the first `count` cells of sequence `slot`; false where the model cannot, and then none is left. */
  readonly keep: (slot: number, count: number) => boolean
  /** Returns the state of drawing for an answer to `prompt`. */
  readonly openSampler: (sampling: Sampling, seed: number, prompt: ArrayLike<number>) => LlamaSampler.Sampler
  readonly close: () => void
}

/** Represents a loaded model. */
export interface Llama extends LlamaCells, LlamaText.LlamaText {
  /** Gives sequence `to` all the cells of sequence `from` in place of its own. */
  readonly copy: (from: number, to: number) => void
  /** Returns whether nothing is to be read from a descriptor of this process, its end included; does not wait. */
  readonly isSilent: (descriptor: number) => boolean
}

/** Opens a model, or throws an `EngineError`; takes as long as reading its file. */
export const open = (options: LlamaOptions): Llama => {
  const native = Native.start(options.accelerator, compile)
  const handle = openEngine(native, options)
  const rows = makeRows(options.rowsMax)
  return {
    ...LlamaText.make(native, handle),
    rows,
    decode: (count, deadlineMs = 0) =>
      native.engine_decode(
        handle,
        Native.int(count),
        rows.token,
        rows.position,
        rows.sequence,
        rows.wanted,
        deadlineMs * 1000
      ),
    useThreads: (count) => native.engine_threads(handle, Native.int(count)),
    keep: (slot, count) => native.engine_keep(handle, Native.int(slot), Native.int(count)),
    copy: (from, to) => native.engine_copy(handle, Native.int(from), Native.int(to)),
    isSilent: (descriptor) => native.descriptor_silent(Native.int(descriptor)),
    openSampler: (sampling, seed, prompt) =>
      LlamaSampler.open(native, handle, sampling, seed, prompt, options.contextTokens),
    close: () => native.engine_close(handle)
  }
}

/** Returns the rows of decodes of at most `rowsMax`. */
export const makeRows = (rowsMax: number): Rows => ({
  token: new Int32Array(rowsMax),
  position: new Int32Array(rowsMax),
  sequence: new Int32Array(rowsMax),
  wanted: new Int8Array(rowsMax)
})

// internal

const signatures = {
  ...Native.signatures,
  engine_open: { args: ["ptr", "i32", "i32", "i32", "i32", "i32"], returns: "ptr" },
  engine_close: { args: ["ptr"], returns: "void" },
  engine_decode: { args: ["ptr", "i32", "ptr", "ptr", "ptr", "ptr", "f64"], returns: "i32" }
} as const

const compile = () => cc({ source: join(import.meta.dir, "shim.c"), symbols: signatures })

const openEngine = (native: ReturnType<typeof compile>["symbols"], options: LlamaOptions): Pointer => {
  const { contextTokens, profile, rowsMax, slots, threads } = options
  const handle = native.engine_open(
    Native.openModel(native, options),
    Native.int(contextTokens),
    Native.int(slots),
    Native.int(rowsMax),
    Native.int(threads),
    Native.cellType[profile]
  )
  if (handle === null) throw Native.noRoom(slots, contextTokens)
  return Native.numeric(handle)
}
