/**
 * A model file that may be loaded: its header has passed the gate and its bytes have a name, their SHA-256. Nothing
 * native is touched here.
 */
import { constants } from "node:fs"
import { type FileHandle, open as openFile } from "node:fs/promises"
import { Data, Effect } from "effect"
import * as GgufGate from "./GgufGate.ts"
import type { GgufHeader } from "./GgufHeader.ts"
import type { GgufKind } from "./GgufModel.ts"
import type { GgufReason, GgufRejected } from "./GgufRejected.ts"
import { type ByteSource, unreadable } from "./GgufSource.ts"

/** Represents a file that was checked; it holds no handle, so the file may change behind it. */
export interface ModelFile {
  readonly path: string
  /** Lower-case hexadecimal. */
  readonly sha256: string
  readonly sizeBytes: number
  readonly header: GgufHeader
}

/** Represents why a file is not loaded. */
export class ModelFileRejected extends Data.TaggedError("ModelFileRejected")<{
  /** Beside the gate's reasons: `NotAFile` for directories and pipes, `Changed` for a file written meanwhile. */
  readonly reason: GgufReason | "NotAFile" | "Changed"
  readonly path: string
  readonly detail: string
}> {
  override get message(): string {
    return `The model file ${this.path} cannot be used. ${this.detail}. ${advice(this.reason)}`
  }
}

const advice = (reason: ModelFileRejected["reason"]): string => {
  switch (reason) {
    case "Unreadable":
    case "NotAFile":
      return "Check the path and the rights to read it."
    case "Changed":
      return "Wait until the file is written, then try again."
    case "Truncated":
    case "OverLong":
      return "Download the file again and compare its size and SHA-256 with the publisher's."
    case "StageFile":
      return "Use the whole model's file, or let the peer cut the stage itself."
    case "SplitFile":
      return "Join its parts with llama.cpp's `llama-gguf-split --merge` and use the result."
    case "UnsupportedVersion":
    case "UnsupportedType":
      return "Convert or quantise the model again with a current llama.cpp."
    case "NoArchitecture":
    case "UnsupportedArchitecture":
    case "NoTokenizer":
    case "BadTokenizer":
      return "Use a GGUF file of a text model, such as Llama, Qwen, Gemma or Mistral."
    default:
      return "Do not trust this file: take the model from its publisher again."
  }
}

/** Represents what is opened and how `open` reports on a long reading. */
export interface OpenOptions {
  /** What the file must hold; a whole model unless said. */
  readonly kind?: GgufKind
  /** Called after every mebibyte that was hashed; it must return quickly. */
  readonly onProgress?: (hashedBytes: number, sizeBytes: number) => void
}

/** Bytes hashed in one step: under a millisecond of the thread's time. */
const stepBytes = 1024 * 1024

/**
 * Returns the model file at `path`, header checked first and then hashed, through one handle that is closed at the
 * end. Hashing takes about a second for each gigabyte and can be interrupted.
 */
export const open = (path: string, options: OpenOptions = {}): Effect.Effect<ModelFile, ModelFileRejected> =>
  Effect.scoped(
    Effect.gen(function* () {
      const rejected = (reason: ModelFileRejected["reason"], detail: string) =>
        new ModelFileRejected({ reason, path, detail })
      const handle = yield* Effect.acquireRelease(
        // Without O_NONBLOCK, opening a named pipe waits for a writer.
        attempt(() => openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)),
        (handle) => Effect.promise(() => handle.close())
      )
      const before = yield* attempt(() => handle.stat({ bigint: true }))
      if (!before.isFile()) return yield* rejected("NotAFile", "It is not a regular file")
      const source = fromHandle(handle, Number(before.size))
      const header = yield* GgufGate.check(source, options.kind)
      const sha256 = yield* hash(source, options)
      const after = yield* attempt(() => handle.stat({ bigint: true }))
      if (after.size !== before.size || after.mtimeNs !== before.mtimeNs)
        return yield* rejected("Changed", "It changed while it was read")
      return { path, sha256, sizeBytes: source.sizeBytes, header }
    }).pipe(Effect.catchTag("GgufRejected", ({ reason, detail }) => new ModelFileRejected({ reason, path, detail })))
  ).pipe(Effect.withSpan("ModelFile.open"))

/** Returns the checked header of the model file at `path`, without hashing the rest; for what a plan needs of it. */
export const header = (path: string): Effect.Effect<GgufHeader, GgufRejected> =>
  Effect.scoped(
    Effect.gen(function* () {
      const handle = yield* Effect.acquireRelease(
        attempt(() => openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)),
        (handle) => Effect.promise(() => handle.close())
      )
      const { size } = yield* attempt(() => handle.stat())
      return yield* GgufGate.check(fromHandle(handle, size))
    })
  )

const attempt = <A>(evaluate: () => Promise<A>): Effect.Effect<A, GgufRejected> =>
  Effect.tryPromise({ try: evaluate, catch: unreadable })

const fromHandle = (handle: FileHandle, sizeBytes: number): ByteSource => ({
  sizeBytes,
  read: (offset, length) => readInto(handle, new Uint8Array(length), offset)
})

/** Fills `buffer` from `offset` on; returns the part that the file had. */
const readInto = (handle: FileHandle, buffer: Uint8Array, offset: number) =>
  Effect.gen(function* () {
    let filled = 0
    while (filled < buffer.length) {
      const left = buffer.length - filled
      const { bytesRead } = yield* attempt(() => handle.read(buffer, filled, left, offset + filled))
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return buffer.subarray(0, filled)
  })

const hash = Effect.fnUntraced(function* (source: ByteSource, options: OpenOptions) {
  const hasher = new Bun.CryptoHasher("sha256")
  for (let at = 0; at < source.sizeBytes; at += stepBytes) {
    const bytes = yield* source.read(at, Math.min(stepBytes, source.sizeBytes - at))
    hasher.update(bytes)
    options.onProgress?.(Math.min(at + stepBytes, source.sizeBytes), source.sizeBytes)
  }
  return hasher.digest("hex")
})
