/**
 * The stage files that a peer has cut, in a folder of its data directory: `SHA256/FROM-TO.gguf` with the file's own
 * hash beside it. What is asked for and not there is cut from the whole model; before that, what nobody uses is
 * removed, oldest first, where there is too much of it.
 */
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises"
import { dirname, join } from "node:path"
import { Data, Effect, type Scope } from "effect"
import type { ByteSource } from "../GgufSource.ts"
import { unreadable } from "../GgufSource.ts"
import * as ModelFile from "../ModelFile.ts"
import * as StageFile from "./StageFile.ts"
import type { StageRange } from "./StageKeys.ts"
import * as StageLayout from "./StageLayout.ts"

/** Represents a stage that the shelf does not give; the message says why. */
export class StageUnavailable extends Data.TaggedError("StageUnavailable")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** Represents the stage files of one peer. */
export interface StageShelf {
  /** Returns the checked stage file of a model's layers, cut where it is not there; kept while the scope lives. */
  readonly take: (
    model: ModelFile.ModelFile,
    range: StageRange,
    onProgress: (fraction: number) => void
  ) => Effect.Effect<ModelFile.ModelFile, StageUnavailable, Scope.Scope>
  /** Returns the SHA-256 that the stage file of these layers has wherever it is cut; reads all of them. */
  readonly sha256Of: (model: ModelFile.ModelFile, range: StageRange) => Effect.Effect<string, StageUnavailable>
  /** Ranges of the model that lie there. */
  readonly held: (sha256: string) => Effect.Effect<ReadonlyArray<StageRange>>
}

/** Files that nobody uses and that stay: some plans' worth, as the next group is mostly like the last. */
export const unusedMax = 8

/** Returns the shelf in `folder`, which is made when it is needed. */
export const make = (folder: string, options: { readonly unusedMax?: number } = {}): Effect.Effect<StageShelf> =>
  Effect.map(Effect.makeSemaphore(1), (one) => {
    const used = new Map<string, number>()
    const pathOf = (sha256: string, { from, to }: StageRange) => join(folder, sha256, `${from}-${to}.gguf`)
    const use = (path: string, by: number) =>
      Effect.sync(() => {
        const uses = (used.get(path) ?? 0) + by
        if (uses > 0) used.set(path, uses)
        else used.delete(path)
      })
    const clear = removeOldest(folder, used, options.unusedMax ?? unusedMax)
    return {
      take: Effect.fn("StageShelf.take")(function* (model, range, onProgress) {
        const path = pathOf(model.sha256, range)
        yield* Effect.acquireRelease(use(path, 1), () => use(path, -1))
        // One at a time: two would share the same disk.
        return yield* one.withPermits(1)(
          Effect.flatMap(known(path, model, range, onProgress), (file) =>
            file === undefined
              ? Effect.zipRight(Effect.ignore(clear), cut(path, model, range, onProgress))
              : Effect.succeed(file)
          )
        )
      }),
      sha256Of: (model, range) =>
        Effect.flatMap(layoutOf(model, range), (layout) =>
          Effect.mapError(StageFile.sha256Of(sourceOf(model), layout), unavailable)
        ),
      held: (sha256) =>
        Effect.orElseSucceed(
          Effect.map(
            attempt(() => readdir(join(folder, sha256))),
            (names) => names.flatMap(rangeOf)
          ),
          () => []
        )
    }
  })

// internal

/** Of the time until a file is there, what the writing takes; the rest is its hashing. */
const writingShare = 0.7

const attempt = <A>(evaluate: () => Promise<A>): Effect.Effect<A, StageUnavailable> =>
  Effect.tryPromise({ try: evaluate, catch: (cause) => new StageUnavailable({ message: `${cause}`, cause }) })

const unavailable = (cause: { readonly message: string }) => new StageUnavailable({ message: cause.message, cause })

const hashPath = (path: string): string => `${path}.sha256`

const rangeOf = (name: string): ReadonlyArray<StageRange> => {
  const [, from, to] = /^(\d{1,4})-(\d{1,4})\.gguf$/.exec(name) ?? []
  return from === undefined || to === undefined ? [] : [{ from: Number(from), to: Number(to) }]
}

/** Returns the file at `path` where it is what was cut once; undefined where it is not there, or something else. */
const known = Effect.fnUntraced(function* (
  path: string,
  model: ModelFile.ModelFile,
  range: StageRange,
  onProgress: (fraction: number) => void
) {
  const hash = yield* Effect.option(attempt(() => Bun.file(hashPath(path)).text()))
  if (hash._tag === "None") return undefined
  const file = yield* Effect.option(check(path, onProgress))
  if (file._tag === "None" || file.value.sha256 !== hash.value || !isOf(file.value, model, range)) return undefined
  const now = new Date(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
  yield* Effect.ignore(attempt(() => utimes(path, now, now)))
  return file.value
})

const isOf = ({ header: { stage } }: ModelFile.ModelFile, model: ModelFile.ModelFile, { from, to }: StageRange) =>
  stage?.from === from && stage.to === to && stage.source === model.sha256

const check = (path: string, onProgress: (fraction: number) => void) =>
  ModelFile.open(path, { kind: "stage", onProgress: (hashed, size) => onProgress(hashed / size) })

const layoutOf = (model: ModelFile.ModelFile, range: StageRange) =>
  Effect.mapError(StageLayout.make(model.header, range, { source: model.sha256 }), unavailable)

const cut = Effect.fnUntraced(function* (
  path: string,
  model: ModelFile.ModelFile,
  range: StageRange,
  onProgress: (fraction: number) => void
) {
  const layout = yield* layoutOf(model, range)
  yield* attempt(() => mkdir(dirname(path), { recursive: true }))
  yield* attempt(() => rm(hashPath(path), { force: true }))
  yield* StageFile.write(sourceOf(model), layout, path, {
    onProgress: (written, size) => onProgress((written / size) * writingShare)
  }).pipe(Effect.mapError(unavailable))
  const file = yield* Effect.mapError(
    check(path, (fraction) => onProgress(writingShare + fraction * (1 - writingShare))),
    unavailable
  )
  // Written last and moved, so that a hash is never there for a file that is not whole.
  const draft = `${hashPath(path)}.part`
  yield* attempt(() => Bun.write(draft, file.sha256))
  yield* attempt(() => rename(draft, hashPath(path)))
  return file
})

const sourceOf = ({ path, sizeBytes }: ModelFile.ModelFile): ByteSource => ({
  sizeBytes,
  read: (offset, length) =>
    Effect.tryPromise({
      try: () =>
        Bun.file(path)
          .slice(offset, offset + length)
          .bytes(),
      catch: unreadable
    })
})

/** Removes the files that were used longest ago among those that nobody uses, and what a crash left half written. */
const removeOldest = (folder: string, used: ReadonlyMap<string, number>, most: number) =>
  attempt(() => readdir(folder, { recursive: true, withFileTypes: true })).pipe(
    Effect.flatMap((entries) =>
      Effect.forEach(
        entries.filter((entry) => entry.isFile()),
        (entry) => {
          const path = join(entry.parentPath, entry.name)
          return attempt(() => stat(path).then(({ mtimeMs }) => ({ path, mtimeMs })))
        }
      )
    ),
    Effect.flatMap((files) => {
      const idle = files
        .filter(({ path }) => path.endsWith(".gguf") && !used.has(path))
        .toSorted((one, other) => other.mtimeMs - one.mtimeMs)
      const spoilt = files.filter(({ path }) => path.endsWith(".part"))
      const gone = [
        ...idle.slice(most).flatMap(({ path }) => [path, hashPath(path)]),
        ...spoilt.map(({ path }) => path)
      ]
      return Effect.forEach(gone, (path) => attempt(() => rm(path, { force: true })), { discard: true })
    })
  )
