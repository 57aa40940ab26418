/**
 * Writes stage files: piece by piece, holding no more than one step of the model's file. A file is written beside its
 * place and moved there when it is whole; whatever stops the writing leaves nothing behind.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises"
import { Data, Effect } from "effect"
import type { GgufRejected } from "../GgufRejected.ts"
import type { ByteSource } from "../GgufSource.ts"
import { pieceBytes, type StageLayout, type StagePiece } from "./StageLayout.ts"

/** Represents a stage file that could not be written. */
export class StageNotWritten extends Data.TaggedError("StageNotWritten")<{
  /** `SourceEnded`: the model's file is shorter than its header says. */
  readonly reason: "SourceEnded" | "SourceUnreadable" | "Unwritable"
  readonly path: string
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    const advice =
      this.reason === "Unwritable"
        ? "Check the room on the disk and the rights to write there."
        : "Check the model's file: compare its size and SHA-256 with the publisher's."
    return `The stage file ${this.path} cannot be written. ${this.detail}. ${advice}`
  }
}

/** Represents how `write` reports on a long writing. */
export interface WriteOptions {
  /** Called after each step with the bytes done, holes among them; it must return quickly. */
  readonly onProgress?: (writtenBytes: number, sizeBytes: number) => void
}

/** Bytes read and written in one step: enough for a disk's full speed, little enough for any computer. */
const stepBytes = 4 * 1024 * 1024

/**
 * Writes the stage file at `path`, over what is there; its folder must exist. Takes as long as copying its bytes, and
 * can be interrupted.
 */
export const write = Effect.fn("StageFile.write")(function* (
  source: ByteSource,
  layout: StageLayout,
  path: string,
  options: WriteOptions = {}
) {
  if (layout.sourceBytes > source.sizeBytes)
    return yield* new StageNotWritten({
      reason: "SourceEnded",
      path,
      detail: `The stage needs ${layout.sourceBytes} bytes of the model, which has ${source.sizeBytes}`
    })
  // Two writings of one file do not meet.
  const draft = `${path}.${crypto.randomUUID()}.part`
  const attempt = <A>(evaluate: () => Promise<A>) =>
    Effect.tryPromise({
      try: evaluate,
      catch: (cause) => new StageNotWritten({ reason: "Unwritable", path, detail: `${cause}`, cause })
    })
  const whole = Effect.acquireUseRelease(
    attempt(() => open(draft, "wx")),
    (file) => fill(file, source, layout, path, options, attempt),
    (file) => Effect.promise(() => file.close())
  )
  yield* whole.pipe(
    Effect.zipRight(attempt(() => rename(draft, path))),
    Effect.onError(() => Effect.promise(() => rm(draft, { force: true })))
  )
})

/** Returns the SHA-256 that the stage file has once it is written, in lower-case hexadecimal, and writes nothing. */
export const sha256Of = Effect.fn("StageFile.sha256Of")(function* (source: ByteSource, layout: StageLayout) {
  const hasher = new Bun.CryptoHasher("sha256")
  const zeros = new Uint8Array(Math.min(stepBytes, layout.sizeBytes))
  yield* eachStep(source, layout, "that is to be compared", (bytes, length) => {
    hasher.update(bytes ?? zeros.subarray(0, length))
    return Effect.void
  })
  return hasher.digest("hex")
})

// internal

type Attempt = <A>(evaluate: () => Promise<A>) => Effect.Effect<A, StageNotWritten>

const fill = Effect.fnUntraced(function* (
  file: FileHandle,
  source: ByteSource,
  layout: StageLayout,
  path: string,
  options: WriteOptions,
  attempt: Attempt
) {
  // What is not written afterwards stays a hole.
  yield* attempt(() => file.truncate(layout.sizeBytes))
  yield* eachStep(source, layout, path, (bytes, length, at) => {
    const told = Effect.sync(() => options.onProgress?.(at + length, layout.sizeBytes))
    return bytes === undefined
      ? told
      : Effect.zipRight(
          attempt(() => writeAll(file, bytes, at)),
          told
        )
  })
})

/** Goes through the bytes of the stage file in order, a step at a time; a step without bytes is of zeros. */
const eachStep = Effect.fnUntraced(function* <E>(
  source: ByteSource,
  layout: StageLayout,
  path: string,
  step: (bytes: Uint8Array | undefined, length: number, at: number) => Effect.Effect<void, E>
) {
  let at = 0
  for (const piece of layout.pieces) {
    for (let done = 0; done < pieceBytes(piece); done += stepBytes) {
      const length = Math.min(stepBytes, pieceBytes(piece) - done)
      const bytes = yield* read(source, piece, done, length, path)
      yield* step(bytes, length, at + done)
    }
    at += pieceBytes(piece)
  }
})

/** Returns the bytes of a step of the piece; `undefined` where they are zeros. */
const read = (
  source: ByteSource,
  piece: StagePiece,
  from: number,
  length: number,
  path: string
): Effect.Effect<Uint8Array | undefined, StageNotWritten> => {
  switch (piece._tag) {
    case "Zeros":
      return Effect.succeed(undefined)
    case "Given":
      return Effect.succeed(piece.bytes.subarray(from, from + length))
    case "Source":
      return source.read(piece.offset + from, length).pipe(
        Effect.mapError(
          (cause: GgufRejected) =>
            new StageNotWritten({ reason: "SourceUnreadable", path, detail: cause.detail, cause })
        ),
        Effect.filterOrFail(
          (bytes) => bytes.length === length,
          (bytes) =>
            new StageNotWritten({
              reason: "SourceEnded",
              path,
              detail: `The model has ${bytes.length} of ${length} bytes at ${piece.offset + from}`
            })
        )
      )
  }
}

const writeAll = (file: FileHandle, bytes: Uint8Array, position: number): Promise<void> =>
  file.write(bytes, 0, bytes.length, position).then(({ bytesWritten }) => {
    if (bytesWritten === bytes.length) return undefined
    if (bytesWritten === 0) throw new Error("The disk takes no more bytes")
    return writeAll(file, bytes.subarray(bytesWritten), position + bytesWritten)
  })
