/** The key of a process: made once on a real disk, kept from others, written as an id and back, and what it signs. */
import { expect } from "bun:test"
import { FileSystem, type Path } from "@effect/platform"
import { BunContext } from "@effect/platform-bun"
import * as Identity from "@weft/mesh/Identity"
import * as PeerId from "@weft/mesh/PeerId"
import { Effect, FastCheck, Option, Schema } from "effect"
import { it } from "../support/effect.ts"

const inDirectory = <A, E>(body: (directory: string) => Effect.Effect<A, E, FileSystem.FileSystem | Path.Path>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return yield* body(yield* fs.makeTempDirectoryScoped())
  }).pipe(Effect.scoped, Effect.provide(BunContext.layer))

it.live("an identity made on first start is the same on the next, readable by its owner alone", () =>
  inDirectory((directory) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const nested = `${directory}/a/b`
      const first = yield* Identity.load(nested)
      const second = yield* Identity.load(nested)
      expect(second.id).toBe(first.id)
      expect((yield* fs.stat(`${nested}/identity.pem`)).mode & 0o777).toBe(0o600)
      expect(yield* fs.readDirectory(nested)).toEqual(["identity.pem"])
    })
  )
)

it.live("a key that others can read, or that is damaged, is refused with what to do", () =>
  inDirectory((directory) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      yield* Identity.load(directory)
      const path = `${directory}/identity.pem`
      yield* fs.chmod(path, 0o644)
      const exposed = yield* Effect.flip(Identity.load(directory))
      expect(exposed.reason).toBe("KeyExposed")
      expect(exposed.message).toContain("chmod 600")
      yield* fs.writeFileString(path, "not a key")
      yield* fs.chmod(path, 0o600)
      expect((yield* Effect.flip(Identity.load(directory))).reason).toBe("KeyMalformed")
    })
  )
)

it.live("a data directory that cannot be made is refused by name", () =>
  inDirectory((directory) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFileString(`${directory}/file`, "")
      const error = yield* Effect.flip(Identity.load(`${directory}/file/data`))
      expect(error.reason).toBe("DirectoryUnusable")
      expect(error.message).toContain(`${directory}/file/data`)
    })
  )
)

it.prop("a public key survives its id and back", FastCheck.uint8Array({ minLength: 32, maxLength: 32 }), (key) =>
  Effect.sync(() => {
    const id = PeerId.fromPublicKey(key)
    expect(Schema.is(PeerId.PeerId)(id)).toBe(true)
    expect(Option.getOrThrow(PeerId.toPublicKey(id))).toEqual(key)
  })
)

it.effect("a signature holds for its bytes and its signer alone, and garbage is only false", () =>
  Effect.gen(function* () {
    const { id, sign } = yield* Identity.Identity
    const other = yield* Identity.Identity.pipe(Effect.provide(Identity.Identity.layerEphemeral))
    const bytes = new TextEncoder().encode("weft/test 7 plus 5 is 12")
    const signature = sign(bytes)
    expect(Identity.verify(id, bytes, signature)).toBe(true)
    expect(Identity.verify(other.id, bytes, signature)).toBe(false)
    expect(Identity.verify(id, bytes, signature.subarray(1))).toBe(false)
    expect(Identity.verify(PeerId.fromPublicKey(new Uint8Array(32).fill(255)), bytes, signature)).toBe(false)
    for (let i = 0; i < signature.length; i++) {
      const bent = signature.slice()
      bent[i] = (bent[i] ?? 0) ^ 1
      expect(Identity.verify(id, bytes, bent)).toBe(false)
    }
  }).pipe(Effect.provide(Identity.Identity.layerEphemeral))
)
