/**
 * A part of a model and its context in this process, as `Llama.ts` is of a whole one: tokens or hidden states in,
 * hidden states or tokens out. It computes in the exact profile alone, as only so the parts give together what the
 * whole gives.
 */
import { cc, type Pointer } from "bun:ffi"
import { join } from "node:path"
import type { Accelerator } from "../../EngineConfig.ts"
import { EngineError } from "../../EngineError.ts"
import { type LlamaCells, type LlamaSizes, makeRows } from "./Llama.ts"
import * as LlamaSampler from "./LlamaSampler.ts"
import * as LlamaText from "./LlamaText.ts"
import * as Native from "./Native.ts"

/** Represents what a stage is opened with; the counts are bounds of native buffers. */
export type LlamaStageOptions = Omit<Native.ModelLoading, "profile"> &
  LlamaSizes & {
    /** The stage begins with the model's first layer: its rows are tokens. */
    readonly isFirst: boolean
    /** The stage ends with the model's last layer: tokens are drawn from its rows. */
    readonly isLast: boolean
  }

/** Represents an open stage; `decode` takes its hidden states from `hidden` and leaves those it gives in `output`. */
export interface LlamaStage extends LlamaCells {
  readonly isFirst: boolean
  readonly isLast: boolean
  /** Values of one hidden state, `n_embd`. */
  readonly width: number
  /** What a token of a row may be, where the stage knows: a middle one has no vocabulary. */
  readonly vocabularyTokens: number | undefined
  /** The vocabulary of the first stage. */
  readonly text: LlamaText.LlamaText | undefined
  /** `[rowsMax, width]`, row-major; empty for the first stage. */
  readonly hidden: Float32Array
  /** `[rowsMax, width]`, row-major, in the order of llama.cpp's graphs; empty for the last stage. */
  readonly output: Float32Array
}

/** Opens a stage, or throws an `EngineError`; takes as long as reading its file. */
export const open = (options: LlamaStageOptions): LlamaStage => {
  const { contextTokens, isFirst, isLast, rowsMax } = options
  const native = start(options.accelerator)
  const handle = openStage(native, options)
  const width = native.stage_width(handle)
  const rows = makeRows(rowsMax)
  // An empty array has no address.
  const hidden = new Float32Array(isFirst ? 1 : rowsMax * width)
  const output = new Float32Array(isLast ? 1 : rowsMax * width)
  const text = isFirst ? LlamaText.make(native, handle) : undefined
  return {
    isFirst,
    isLast,
    width,
    vocabularyTokens: isFirst || isLast ? native.engine_vocabulary(handle) : undefined,
    text,
    rows,
    hidden: isFirst ? hidden.subarray(0, 0) : hidden,
    output: isLast ? output.subarray(0, 0) : output,
    decode: (count, deadlineMs = 0) => {
      // The last layer drops the rows that nobody wants.
      if (!isLast) rows.wanted.fill(1, 0, count)
      const { position, sequence, token, wanted } = rows
      return native.stage_decode(
        handle,
        Native.int(count),
        token,
        hidden,
        position,
        sequence,
        wanted,
        output,
        deadlineMs * 1000
      )
    },
    useThreads: (count) => native.engine_threads(handle, Native.int(count)),
    keep: (slot, count) => native.engine_keep(handle, Native.int(slot), Native.int(count)),
    openSampler: (sampling, seed, prompt) => LlamaSampler.open(native, handle, sampling, seed, prompt, contextTokens),
    close: () => native.stage_close(handle)
  }
}

// internal

const signatures = {
  ...Native.signatures,
  stage_fits: { args: ["ptr"], returns: "bool" },
  stage_drop: { args: ["ptr"], returns: "void" },
  stage_open: { args: ["ptr", "i32", "i32", "i32", "i32", "i32", "bool", "bool"], returns: "ptr" },
  stage_close: { args: ["ptr"], returns: "void" },
  stage_width: { args: ["ptr"], returns: "i32" },
  stage_decode: { args: ["ptr", "i32", "ptr", "ptr", "ptr", "ptr", "ptr", "ptr", "f64"], returns: "i32" }
} as const

/** What the process has started: a second stage in it shares the library, which would else find its devices twice. */
const started = new Map<Accelerator, ReturnType<typeof compile>["symbols"]>()

const start = (accelerator: Accelerator) => {
  const native = started.get(accelerator) ?? Native.start(accelerator, compile)
  started.set(accelerator, native)
  return native
}

const compile = () => cc({ source: join(import.meta.dir, "stage.c"), symbols: signatures })

const openStage = (native: ReturnType<typeof compile>["symbols"], options: LlamaStageOptions): Pointer => {
  const { contextTokens, isFirst, isLast, rowsMax, slots, threads } = options
  const model = Native.openModel(native, { ...options, profile: "exact" })
  if (!native.stage_fits(model)) {
    native.stage_drop(model)
    const detail = "layers of this model take more in than others give out; let one peer serve it whole"
    throw new EngineError({ reason: "model_unloadable", detail })
  }
  const handle = native.stage_open(
    model,
    Native.int(contextTokens),
    Native.int(slots),
    Native.int(rowsMax),
    Native.int(threads),
    Native.cellType.exact,
    !isFirst,
    !isLast
  )
  if (handle === null) throw Native.noRoom(slots, contextTokens)
  return Native.numeric(handle)
}
