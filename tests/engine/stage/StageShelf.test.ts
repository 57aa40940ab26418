/** Stage files that a peer keeps: cut once, checked before each use, removed oldest first, and never while in use. */
import { expect } from "bun:test"
import { readdirSync } from "node:fs"
import { appendFile, readdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as ModelFile from "@weft/engine/ModelFile"
import * as StageShelf from "@weft/engine/stage/StageShelf"
import { Effect, Exit, Scope } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { writeModel } from "../looping.ts"
import { shape } from "../pipeline/staging.ts"

const prepare = Effect.gen(function* () {
  const folder = yield* directory
  const model = yield* Effect.flatMap(
    Effect.promise(() => writeModel(folder, shape("Q8_0"), 11)),
    (path) => ModelFile.open(path)
  )
  return {
    model,
    shelf: yield* StageShelf.make(join(folder, "stages"), { unusedMax: 2 }),
    folder: join(folder, "stages")
  }
})

const names = (folder: string, { sha256 }: ModelFile.ModelFile) =>
  Effect.promise(async () => (await readdir(join(folder, sha256))).toSorted())

/** Takes a stage and returns it with the fractions that were told. */
const take = (shelf: StageShelf.StageShelf, model: ModelFile.ModelFile, from: number, to: number) =>
  Effect.gen(function* () {
    const told: Array<number> = []
    const file = yield* shelf.take(model, { from, to }, (fraction) => told.push(fraction))
    return { file, told }
  })

it.live("a stage is cut once, found again, and cut anew where its file is not what it was", () =>
  Effect.gen(function* () {
    const { folder, model, shelf } = yield* prepare
    const cut = yield* take(shelf, model, 2, 4)
    expect(cut.file.header.stage).toMatchObject({ from: 2, to: 4, layers: 6, source: model.sha256 })
    expect(cut.told.at(-1)).toBe(1)
    expect(cut.told).toEqual(cut.told.toSorted((one, other) => one - other))
    expect(yield* shelf.held(model.sha256)).toEqual([{ from: 2, to: 4 }])
    expect(yield* shelf.sha256Of(model, { from: 2, to: 4 })).toBe(cut.file.sha256)
    const written = Bun.file(cut.file.path).lastModified
    const again = yield* take(shelf, model, 2, 4)
    expect([again.file.sha256, again.file.path]).toEqual([cut.file.sha256, cut.file.path])
    yield* Effect.promise(() => appendFile(cut.file.path, "x"))
    const third = yield* take(shelf, model, 2, 4)
    expect(third.file.sha256).toBe(cut.file.sha256)
    expect(third.file.sizeBytes).toBe(cut.file.sizeBytes)
    // A file of other layers under this name, with a hash that is its own.
    const other = yield* take(shelf, model, 4, 6)
    yield* Effect.promise(async () => {
      await writeFile(cut.file.path, await Bun.file(other.file.path).bytes())
      await writeFile(`${cut.file.path}.sha256`, other.file.sha256)
    })
    expect((yield* take(shelf, model, 2, 4)).file.sha256).toBe(cut.file.sha256)
    expect(Bun.file(cut.file.path).lastModified).toBeGreaterThanOrEqual(written)
    expect(yield* names(folder, model)).toEqual(["2-4.gguf", "2-4.gguf.sha256", "4-6.gguf", "4-6.gguf.sha256"])
  })
)

it.live("of what nobody uses the newest stay, what is in use stays too, and half-written files go", () =>
  Effect.gen(function* () {
    const { folder, model, shelf } = yield* prepare
    yield* take(shelf, model, 0, 1)
    for (const from of [1, 2, 3, 4]) yield* Effect.scoped(take(shelf, model, from, from + 1))
    yield* Effect.promise(() => writeFile(join(folder, model.sha256, "0-6.gguf.abc.part"), "half"))
    yield* Effect.scoped(take(shelf, model, 5, 6))
    // Two that were there before the last was cut.
    const kept = ["0-1", "3-4", "4-5", "5-6"].flatMap((range) => [`${range}.gguf`, `${range}.gguf.sha256`])
    expect(yield* names(folder, model)).toEqual(kept)
    expect(yield* shelf.held(model.sha256)).toHaveLength(4)
    expect(yield* shelf.held("0".repeat(64))).toEqual([])
  })
)

it.live("one asked for the same stage twice at once cuts it once, and a cut that is stopped leaves nothing", () =>
  Effect.gen(function* () {
    const { folder, model, shelf } = yield* prepare
    const both = yield* Effect.all([take(shelf, model, 1, 6), take(shelf, model, 1, 6)], { concurrency: 2 })
    expect(new Set(both.map(({ file }) => file.sha256)).size).toBe(1)
    // The second only hashed it.
    expect(both[1]?.told.length).toBeLessThan(both[0]?.told.length ?? 0)
    const scope = yield* Scope.make()
    const stopped = yield* Effect.fork(Scope.extend(take(shelf, model, 0, 5), scope))
    yield* Effect.yieldNow()
    yield* Effect.fork(stopped.interruptAsFork(stopped.id()))
    yield* stopped.await
    yield* Scope.close(scope, Exit.void)
    expect(readdirSync(join(folder, model.sha256)).filter((name) => name.endsWith(".part"))).toEqual([])
    expect((yield* Effect.flip(take(shelf, model, 3, 9))).message).toContain("3 to 9")
  })
)
