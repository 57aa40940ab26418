/**
 * One loaded model and its context in this process: llama.cpp through the C shim. It belongs to the engine host,
 * which is one thread; every call runs to its end. What cannot work throws an `EngineError`; a fault in native code
 * ends the process.
 */
import { cc, JSCallback, type Pointer } from "bun:ffi"
import { join } from "node:path"
import type { Accelerator } from "../../EngineConfig.ts"
import { EngineError } from "../../EngineError.ts"
import type { Profile, Sampling } from "../../Generation.ts"
import * as Libraries from "./Libraries.ts"
import { libraryVersion } from "./LibraryVersion.ts"

/** Bits of `llama_token_attr` in llama.h. */
const attribute = { unknown: 1 << 0, control: 1 << 3, stripLeft: 1 << 7, stripRight: 1 << 8 } as const
/** Text of one token in bytes; longer ones are asked for again with the length that llama.cpp names. */
const pieceBytes = 64
/** Below this, dividing by the temperature overflows float32; the draw is greedy long before. */
const temperatureMin = 1e-3
/** Prompt tokens the repeat penalty looks back, as many as the shim's window holds. */
const repeatWindow = 64
/**
 * ggml's numbers of the cells' types. With f16 the number of rows and of threads chooses among kernels that differ in
 * the last bits; with q8_0 there is one.
 */
const cellType = { fast: 1, exact: 8 } as const

/** What `decode` returns where it was given up at its deadline. */
export const decodeGivenUp = 2

/** Represents what a model is opened with; the counts are bounds of native buffers. */
export interface LlamaOptions {
  readonly path: string
  readonly accelerator: Accelerator
  readonly gpuLayers: number
  readonly contextTokens: number
  readonly slots: number
  /** Most rows of one decode. */
  readonly rowsMax: number
  readonly threads: number
  readonly profile: Profile
  /** Called with 0…1 while the weights load, from inside the load. */
  readonly onProgress: (fraction: number) => void
}

/** Represents a token that steers the model and may come only from a chat template. */
export interface ControlToken {
  readonly token: number
  readonly text: string
  /** The model eats white space before or after this token's text. */
  readonly stripLeft: boolean
  readonly stripRight: boolean
}

/** Represents the rows of the next decode; the first `rows` entries count. */
export interface Rows {
  readonly token: Int32Array
  readonly position: Int32Array
  readonly sequence: Int32Array
  /** 1 where a token is drawn from the row. */
  readonly wanted: Int8Array
}

/** Represents the state of drawing for one answer; `close` frees it. */
export interface Sampler {
  /** Returns the token drawn from output row `row` of the last decode. */
  readonly draw: (row: number) => number
  /** Takes a token drawn elsewhere as the answer's next. */
  readonly accept: (token: number) => void
  readonly close: () => void
}

/** Represents a loaded model. */
export interface Llama {
  readonly vocabularyTokens: number
  /** The token each prompt begins with, if the model wants one. */
  readonly firstToken: number | undefined
  /** Texts of the tokens around a text; empty where the model has none. */
  readonly beginText: string
  readonly endText: string
  /** The Jinja template of the file, if it brings one. */
  readonly chatTemplate: string | undefined
  readonly controlTokens: ReadonlyArray<ControlToken>
  /** Bytes of the longest text of a token: `bytes / pieceBytesMax` tokens are the fewest a text can have. */
  readonly pieceBytesMax: number
  readonly rows: Rows
  /** Returns the tokens of `text`; control tokens written in it stay text unless `control`. */
  readonly tokenize: (text: string, control: boolean) => Int32Array
  /** Returns the bytes of a token's text, which may be part of a character; none for a control token. */
  readonly piece: (token: number) => Uint8Array
  readonly endsAnswer: (token: number) => boolean
  /**
   * Computes the first `count` rows; returns llama.cpp's code: 0 where all went well, `decodeGivenUp` where it took
   * more than `deadlineMs` (none where absent): then some of the rows may have their cells.
   */
  readonly decode: (count: number, deadlineMs?: number) => number
  /** Sets the threads of the decodes to come. */
  readonly useThreads: (count: number) => void
  /** Keeps the first `count` cells of sequence `slot`; false where the model cannot, and then none is left. */
  readonly keep: (slot: number, count: number) => boolean
  /** Gives sequence `to` all the cells of sequence `from` in place of its own. */
  readonly copy: (from: number, to: number) => void
  /** Returns the state of drawing for an answer to `prompt`. */
  readonly openSampler: (sampling: Sampling, seed: number, prompt: ArrayLike<number>) => Sampler
  readonly close: () => void
}

/** Returns the shim's functions after the version and the struct layouts were checked. */
const bind = (directory: string) => {
  Libraries.open(directory)
  const { symbols } = cc({ source: join(import.meta.dir, "shim.c"), symbols: signatures })
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
  return symbols
}

type Native = ReturnType<typeof bind>

/** Opens a model, or throws an `EngineError`; takes as long as reading its file. */
export const open = (options: LlamaOptions): Llama => {
  const directory = Libraries.find(options.accelerator)
  const native = bind(directory)
  native.library_start(terminated(directory))
  if (options.accelerator !== "cpu" && !native.library_has_accelerator()) {
    const detail = `llama.cpp finds no ${options.accelerator} device; install its driver or use the cpu`
    throw new EngineError({ reason: "platform_unsupported", detail })
  }
  const handle = openEngine(native, options)
  const vocabularyTokens = native.engine_vocabulary(handle)
  const begin = native.token_begin(handle)
  const rows = makeRows(options.rowsMax)
  const piece = makePiece(native, handle)
  return {
    vocabularyTokens,
    firstToken: begin >= 0 && native.prompt_begins(handle) ? begin : undefined,
    beginText: String(native.token_text(handle, begin)),
    endText: String(native.token_text(handle, native.token_end(handle))),
    chatTemplate: native.chat_template(handle)?.toString(),
    controlTokens: findControlTokens(native, handle, vocabularyTokens),
    pieceBytesMax: longestPiece(native, handle, vocabularyTokens),
    rows,
    tokenize: (text, control) => tokenize(native, handle, text, control),
    piece,
    endsAnswer: (token) => native.token_ends(handle, int(token)),
    decode: (count, deadlineMs = 0) =>
      native.engine_decode(
        handle,
        int(count),
        rows.token,
        rows.position,
        rows.sequence,
        rows.wanted,
        deadlineMs * 1000
      ),
    useThreads: (count) => native.engine_threads(handle, int(count)),
    keep: (slot, count) => native.engine_keep(handle, int(slot), int(count)),
    copy: (from, to) => native.engine_copy(handle, int(from), int(to)),
    openSampler: (sampling, seed, prompt) => openSampler(native, handle, sampling, seed, prompt, options.contextTokens),
    close: () => native.engine_close(handle)
  }
}

// internal

const signatures = {
  library_version: { args: [], returns: "cstring" },
  defaults_fault: { args: [], returns: "i32" },
  library_start: { args: ["ptr"], returns: "void" },
  library_has_accelerator: { args: [], returns: "bool" },
  model_open: { args: ["ptr", "i32", "bool", "ptr"], returns: "ptr" },
  engine_open: { args: ["ptr", "i32", "i32", "i32", "i32", "i32"], returns: "ptr" },
  engine_close: { args: ["ptr"], returns: "void" },
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
  engine_decode: { args: ["ptr", "i32", "ptr", "ptr", "ptr", "ptr", "f64"], returns: "i32" },
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

/** Tells how far the load is; `true` lets it go on. */
const report = (options: LlamaOptions, fraction: number): boolean => {
  options.onProgress(fraction)
  return true
}

const openEngine = (native: Native, options: LlamaOptions): Pointer => {
  const progress = new JSCallback((fraction: number) => report(options, fraction), {
    args: ["f32", "ptr"],
    returns: "bool"
  })
  const { contextTokens, profile, rowsMax, slots, threads } = options
  const model = native.model_open(terminated(options.path), int(options.gpuLayers), profile === "fast", progress.ptr)
  progress.close()
  if (model === null) {
    const detail = "llama.cpp refuses the file; see the lines it printed, or try another file"
    throw new EngineError({ reason: "model_unloadable", detail })
  }
  const handle = native.engine_open(
    model,
    int(contextTokens),
    int(slots),
    int(rowsMax),
    int(threads),
    cellType[profile]
  )
  if (handle === null) {
    const detail = `no memory for ${slots} sequences of ${contextTokens} tokens; lower slots or contextTokens`
    throw new EngineError({ reason: "model_unloadable", detail })
  }
  return numeric(handle)
}

/** Returns a pointer as the number it is: 64-bit systems use 48 bits. */
const numeric = (pointer: Pointer | bigint): Pointer => Number(pointer) as Pointer // a brand without a constructor

/**
 * Returns a whole number as Bun's calls into C need it: where the engine happens to keep one as a double (3.0, or
 * what is above 2^31), an i32 argument of 1.4.4 reads another number. Seeds keep their 32 bits.
 */
const int = (value: number): number => value | 0

const makeRows = (rowsMax: number): Rows => ({
  token: new Int32Array(rowsMax),
  position: new Int32Array(rowsMax),
  sequence: new Int32Array(rowsMax),
  wanted: new Int8Array(rowsMax)
})

const makePiece = (native: Native, handle: Pointer) => {
  const buffer = new Uint8Array(pieceBytes)
  return (token: number): Uint8Array => {
    const count = native.engine_piece(handle, int(token), buffer, buffer.length)
    if (count >= 0) return buffer.slice(0, count)
    const larger = new Uint8Array(-count)
    return larger.subarray(0, native.engine_piece(handle, int(token), larger, larger.length))
  }
}

const tokenize = (native: Native, handle: Pointer, text: string, control: boolean): Int32Array => {
  const bytes = Buffer.from(text)
  if (bytes.length === 0) return new Int32Array(0)
  // A token has at least one byte; some vocabularies put a space in front of the text.
  const tokens = new Int32Array(bytes.length + 8)
  const count = native.engine_tokenize(handle, bytes, bytes.length, tokens, tokens.length, control)
  if (count >= 0) return tokens.subarray(0, count)
  const larger = new Int32Array(-count)
  return larger.subarray(0, native.engine_tokenize(handle, bytes, bytes.length, larger, larger.length, control))
}

const findControlTokens = (native: Native, handle: Pointer, vocabularyTokens: number): ReadonlyArray<ControlToken> => {
  const found: Array<ControlToken> = []
  for (let token = 0; token < vocabularyTokens; token++) {
    const bits = native.token_attributes(handle, token)
    if ((bits & (attribute.control | attribute.unknown)) === 0) continue
    const text = String(native.token_text(handle, token))
    const stripLeft = (bits & attribute.stripLeft) !== 0
    if (text !== "") found.push({ token, text, stripLeft, stripRight: (bits & attribute.stripRight) !== 0 })
  }
  return found
}

const longestPiece = (native: Native, handle: Pointer, vocabularyTokens: number): number => {
  const none = new Uint8Array(1)
  let longest = 1
  for (let token = 0; token < vocabularyTokens; token++) {
    longest = Math.max(longest, Math.abs(native.engine_piece(handle, token, none, none.length)))
  }
  return longest
}

const openSampler = (
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

const terminated = (text: string): Uint8Array => Buffer.from(`${text}\0`)
