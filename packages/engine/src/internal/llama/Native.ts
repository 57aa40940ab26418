/**
 * The functions of the C shim, and what all that call them share. Compiled at start against llama.cpp's libraries after
 * its version and the layout of its structs were checked: a wrong struct would be silent memory corruption.
 */
import { cc, JSCallback, type Pointer } from "bun:ffi"
import { join } from "node:path"
import type { Accelerator } from "../../EngineConfig.ts"
import { EngineError } from "../../EngineError.ts"
import type { Profile } from "../../Generation.ts"
import * as Libraries from "./Libraries.ts"
import { libraryVersion } from "./LibraryVersion.ts"

/**
 * ggml's numbers of the cells' types. With f16 the number of rows and of threads chooses among kernels that differ in
 * the last bits; with q8_0 there is one.
 */
export const cellType = { fast: 1, exact: 8 } as const

/** The shim's functions that a whole model and a part of one need. */
export const signatures = {
  library_version: { args: [], returns: "cstring" },
  defaults_fault: { args: [], returns: "i32" },
  library_start: { args: ["ptr"], returns: "void" },
  library_has_accelerator: { args: [], returns: "bool" },
  descriptor_silent: { args: ["i32"], returns: "bool" },
  model_open: { args: ["ptr", "i32", "bool", "ptr"], returns: "ptr" },
  engine_vocabulary: { args: ["ptr"], returns: "i32" },
  engine_tokenize: { args: ["ptr", "ptr", "i32", "ptr", "i32", "bool"], returns: "i32" },
  engine_piece: { args: ["ptr", "i32", "ptr", "i32"], returns: "i32" },
  token_attributes: { args: ["ptr", "i32"], returns: "i32" },
  token_text: { args: ["ptr", "i32"], returns: "cstring" },
  token_ends: { args: ["ptr", "i32"], returns: "bool" },
  token_begin: { args: ["ptr"], returns: "i32" },
  token_end: { args: ["ptr"], returns: "i32" },
  prompt_begins: { args: ["ptr"], returns: "bool" },
  chat_template: { args: ["ptr"], returns: "cstring" },
  engine_threads: { args: ["ptr", "i32"], returns: "void" },
  engine_keep: { args: ["ptr", "i32", "i32"], returns: "bool" },
  engine_copy: { args: ["ptr", "i32", "i32"], returns: "void" },
  sampler_open: {
    args: ["ptr", "f64", "i32", "f64", "f64", "f64", "f64", "f64", "i32", "ptr", "i32", "ptr", "i32", "i32"],
    returns: "ptr"
  },
  sampler_accept: { args: ["ptr", "ptr", "i32"], returns: "void" },
  sampler_draw: { args: ["ptr", "ptr", "i32"], returns: "i32" },
  sampler_close: { args: ["ptr"], returns: "void" }
} as const

const compileShared = () => cc({ source: join(import.meta.dir, "shim.c"), symbols: signatures })

/** Represents the shim's functions, bound. */
export type Native = ReturnType<typeof compileShared>["symbols"]

/** Represents how a model is loaded. */
export interface ModelLoading {
  readonly path: string
  readonly accelerator: Accelerator
  /** Layers whose weights go to the accelerator; more than the model has means all. */
  readonly gpuLayers: number
  readonly profile: Profile
  /** Called with 0…1 while the weights load, from inside the load, once for each percent. */
  readonly onProgress: (fraction: number) => void
}

/** Binds what `compile` compiles, once llama.cpp is open, and starts the library; throws an `EngineError`. */
export const start = <N extends Native>(accelerator: Accelerator, compile: () => { readonly symbols: N }): N => {
  const directory = Libraries.find(accelerator)
  Libraries.open(directory)
  const { symbols } = compile()
  const version = String(symbols.library_version())
  if (version !== libraryVersion) {
    const detail = `llama.cpp is ${version}, not ${libraryVersion}; install node-llama-cpp 3.22.1 exactly`
    throw new EngineError({ reason: "library_mismatch", detail })
  }
  const fault = symbols.defaults_fault()
  if (fault !== 0) {
    const detail = `llama.cpp's structs are laid out otherwise (check ${fault}); install node-llama-cpp 3.22.1 again`
    throw new EngineError({ reason: "library_mismatch", detail })
  }
  symbols.library_start(terminated(directory))
  if (accelerator !== "cpu" && !symbols.library_has_accelerator()) {
    const detail = `llama.cpp finds no ${accelerator} device; install its driver or use the cpu`
    throw new EngineError({ reason: "platform_unsupported", detail })
  }
  return symbols
}

/** Loads the weights of a model, or throws an `EngineError`. */
export const openModel = (native: Native, loading: ModelLoading): Pointer => {
  const { gpuLayers, path, profile } = loading
  const progress = new JSCallback(reporter(loading), { args: ["f32", "ptr"], returns: "bool" })
  const model = native.model_open(terminated(path), int(gpuLayers), profile === "fast", progress.ptr)
  progress.close()
  if (model === null) {
    const detail = "llama.cpp refuses the file; see the lines it printed, or try another file"
    throw new EngineError({ reason: "model_unloadable", detail })
  }
  return numeric(model)
}

/** Returns the error of a model whose cells found no room. */
export const noRoom = (slots: number, contextTokens: number): EngineError => {
  const detail = `no memory for ${slots} sequences of ${contextTokens} tokens; lower slots or contextTokens`
  return new EngineError({ reason: "model_unloadable", detail })
}

/** Returns a pointer as the number it is, as 64-bit systems use 48 bits; cast, as the brand has no constructor. */
export const numeric = (pointer: Pointer | bigint): Pointer => Number(pointer) as Pointer

/**
 * Returns a whole number as Bun's calls into C need it: where the engine happens to keep one as a double (3.0, or
 * what is above 2^31), an i32 argument of 1.4.4 reads another number. Seeds keep their 32 bits.
 */
export const int = (value: number): number => value | 0

// internal

/** Reports each whole percent once, as llama.cpp calls for every tensor; `true` lets the load go on. */
const reporter = ({ onProgress }: ModelLoading) => {
  let percent = -1
  return (fraction: number): boolean => {
    const next = Math.floor(fraction * 100)
    if (next > percent) onProgress(Math.min(1, Math.max(0, fraction)))
    percent = Math.max(percent, next)
    return true
  }
}

const terminated = (text: string): Uint8Array => Buffer.from(`${text}\0`)
