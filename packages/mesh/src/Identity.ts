/**
 * The key this process signs with. Made on first start and kept as `identity.pem` (PKCS#8, mode 0600) in the data
 * directory; whoever holds that file is this peer.
 */
import { FileSystem, Path } from "@effect/platform"
import { Context, Data, Effect, Layer, Option } from "effect"
import * as Ed25519 from "./internal/ed25519.ts"
import * as PeerId from "./PeerId.ts"

/** Represents an identity that cannot be used; the message says what to do. */
export class IdentityError extends Data.TaggedError("IdentityError")<{
  readonly reason: "DirectoryUnusable" | "KeyUnreadable" | "KeyMalformed" | "KeyExposed"
  readonly path: string
  readonly cause?: unknown
}> {
  override get message(): string {
    switch (this.reason) {
      case "DirectoryUnusable":
        return `Cannot write to the data directory '${this.path}'. Make it writable, free some space, or name another.`
      case "KeyUnreadable":
        return `Cannot read the identity key '${this.path}'. Give this user the right to read it.`
      case "KeyMalformed":
        return `The identity key '${this.path}' is damaged. Restore it from a backup, or move it away to get a new id.`
      case "KeyExposed":
        return `Others can read the identity key '${this.path}'. Run: chmod 600 '${this.path}'`
    }
  }
}

/** Signs in the name of this process. */
export class Identity extends Context.Tag("@weft/mesh/Identity")<
  Identity,
  {
    readonly id: PeerId.PeerId
    /** Returns the 64-byte Ed25519 signature of `bytes`. Sign only domain-separated byte strings. */
    readonly sign: (bytes: Uint8Array) => Uint8Array
  }
>() {
  /** An identity that lives as long as the process: for tests and one-off commands. */
  static readonly layerEphemeral = Layer.sync(Identity, () => fromKey(Ed25519.generate()))

  /** The identity kept in `directory`, which is made where it is missing. */
  static readonly layerDirectory = (directory: string) => Layer.effect(Identity, load(directory))
}

/** Returns whether `signature` (64 bytes) was made over `bytes` by the holder of `id`. Never throws. */
export const verify = (id: PeerId.PeerId, bytes: Uint8Array, signature: Uint8Array): boolean =>
  Option.exists(PeerId.toPublicKey(id), (publicKey) => Ed25519.verify(publicKey, bytes, signature))

/** Reads the identity kept in `directory`, or makes one there. */
export const load = Effect.fn("Identity.load")(function* (directory: string) {
  const fs = yield* FileSystem.FileSystem
  const path = (yield* Path.Path).join(directory, "identity.pem")
  const failed = (reason: IdentityError["reason"], at: string) => (cause: unknown) =>
    new IdentityError({ reason, path: at, cause })

  yield* fs
    .makeDirectory(directory, { recursive: true, mode: 0o700 })
    .pipe(Effect.mapError(failed("DirectoryUnusable", directory)))
  if (!(yield* fs.exists(path).pipe(Effect.mapError(failed("KeyUnreadable", path))))) {
    const key = Ed25519.generate()
    // Written aside and renamed: a full disk or a crash leaves no half key behind.
    const draft = `${path}.new`
    yield* fs.writeFileString(draft, Ed25519.toPem(key), { mode: 0o600, flag: "w" }).pipe(
      Effect.zipRight(fs.chmod(draft, 0o600)),
      Effect.zipRight(fs.rename(draft, path)),
      Effect.onError(() => Effect.ignore(fs.remove(draft))),
      Effect.mapError(failed("DirectoryUnusable", directory))
    )
    return fromKey(key)
  }
  const info = yield* fs.stat(path).pipe(Effect.mapError(failed("KeyUnreadable", path)))
  if ((info.mode & 0o077) !== 0) return yield* new IdentityError({ reason: "KeyExposed", path })
  const pem = yield* fs.readFileString(path).pipe(Effect.mapError(failed("KeyUnreadable", path)))
  return yield* Option.match(Ed25519.fromPem(pem), {
    onNone: () => new IdentityError({ reason: "KeyMalformed", path }),
    onSome: (key) => Effect.succeed(fromKey(key))
  })
})

// internal

const fromKey = (key: Ed25519.PrivateKey): typeof Identity.Service => ({
  id: PeerId.fromPublicKey(Ed25519.publicKey(key)),
  sign: (bytes) => Ed25519.sign(key, bytes)
})
