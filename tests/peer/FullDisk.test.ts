/** The first start on a full disk: a reason with its cure, and nothing left that a next start would trip over. */
import { expect } from "bun:test"
import { FileSystem, Error as PlatformError } from "@effect/platform"
import { BunContext } from "@effect/platform-bun"
import * as Identity from "@weft/mesh/Identity"
import { Effect } from "effect"
import { it } from "../support/effect.ts"
import { directory } from "../support/processes.ts"

const full = new PlatformError.SystemError({
  reason: "Unknown",
  module: "FileSystem",
  method: "writeFile",
  description: "ENOSPC: no space left on device"
})

/** The real file system, except that this step of the first start meets a full disk. */
const failingAt = (fs: FileSystem.FileSystem, step: "write" | "rename"): FileSystem.FileSystem =>
  FileSystem.FileSystem.of({
    ...fs,
    writeFileString: (path, text, options) =>
      step === "write"
        ? // A full disk takes what still fits.
          Effect.zipRight(fs.writeFileString(path, text.slice(0, 20), options), Effect.fail(full))
        : fs.writeFileString(path, text, options),
    rename: (from, to) => (step === "rename" ? Effect.fail(full) : fs.rename(from, to))
  })

for (const step of ["write", "rename"] as const) {
  it.live(`a disk that is full at the ${step} is told by the directory's name, leaves no half key, and heals`, () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* directory
      const error = yield* Identity.load(path).pipe(
        Effect.provideService(FileSystem.FileSystem, failingAt(fs, step)),
        Effect.flip
      )
      expect(error.reason).toBe("DirectoryUnusable")
      expect(error.message).toContain(path)
      expect(error.message).toContain("free some space")
      expect(yield* fs.readDirectory(path)).toEqual([])
      const first = yield* Identity.load(path)
      expect((yield* Identity.load(path)).id).toBe(first.id)
      expect(yield* fs.readDirectory(path)).toEqual(["identity.pem"])
    }).pipe(Effect.provide(BunContext.layer))
  )
}

it.live("a directory that may not be written to is told by its name", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const denied = new PlatformError.SystemError({ reason: "PermissionDenied", module: "FileSystem", method: "mkdir" })
    const error = yield* Identity.load("somewhere").pipe(
      Effect.provideService(FileSystem.FileSystem, { ...fs, makeDirectory: () => Effect.fail(denied) }),
      Effect.flip
    )
    expect(error.message).toContain("'somewhere'")
  }).pipe(Effect.provide(BunContext.layer))
)
