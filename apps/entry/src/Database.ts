/**
 * The entry's SQLite database: opened, brought to the newest schema, and closed with the layer. What can go wrong at
 * start says what to do.
 */
import { FileSystem, Path } from "@effect/platform"
import * as Migrator from "@effect/sql/Migrator"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { SqliteClient } from "@effect/sql-sqlite-bun"
import { Cause, Data, Effect, Layer } from "effect"
import { EntryConfig } from "./EntryConfig.ts"
import { migrations } from "./Migrations.ts"

/** Represents a database that cannot be used; the entry does not start. */
export class DatabaseError extends Data.TaggedError("DatabaseError")<{
  readonly path: string
  readonly cause: unknown
}> {
  override get message(): string {
    return `The database ${this.path} cannot be used: ${adviceFor(this.cause)}`
  }
}

type DatabaseLayer = Layer.Layer<SqlClient, DatabaseError, EntryConfig | FileSystem.FileSystem | Path.Path>

/** Opens the configured database and migrates it; a commit is on disk before it is reported: keys, and later money. */
export const layer: DatabaseLayer = Layer.suspend(() => opened("FULL"))

/**
 * The same for a program that answers requests and writes but counts: commits are handed to the system, which brings
 * them to the disk within seconds, and nobody waits until it has. A computer that loses its power may lose the last of
 * them, a program that is killed loses none (https://sqlite.org/pragma.html#pragma_synchronous).
 */
export const layerOfCounts: DatabaseLayer = Layer.suspend(() => opened("NORMAL"))

/** Returns what an operator does about a failure to open or write a database. */
export const adviceFor = (cause: unknown): string => {
  const text = textOf(cause)
  const found = advice.find(([pattern]) => pattern.test(text))
  return found === undefined ? `${text}. Check WEFT_DATA_DIR and WEFT_DATABASE_URL.` : found[1]
}

// internal

/** Waits of one connection for another's lock: the `keys` commands write beside a running entry. */
const busyTimeoutMs = 5000

/** What a commit waits for. */
type Synchronous = "FULL" | "NORMAL"

const opened = (synchronous: Synchronous): DatabaseLayer =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const { databasePath } = yield* EntryConfig
      const fail = (cause: unknown) => new DatabaseError({ path: databasePath, cause })
      const folder = (yield* Path.Path).dirname(databasePath)
      yield* Effect.mapError(
        (yield* FileSystem.FileSystem).makeDirectory(folder, { recursive: true, mode: 0o700 }),
        fail
      )
      const client = SqliteClient.layer({ filename: databasePath })
      return Layer.provideMerge(Layer.effectDiscard(prepare(synchronous)), client).pipe(
        Layer.catchAllCause((cause) => Layer.fail(fail(Cause.squash(cause))))
      )
    })
  )

const prepare = (synchronous: Synchronous): Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    yield* sql`PRAGMA busy_timeout = ${sql.literal(String(busyTimeoutMs))}`
    yield* sql`PRAGMA synchronous = ${sql.literal(synchronous)}`
    yield* sql`PRAGMA foreign_keys = ON`
    yield* Migrator.make({})({ loader: Migrator.fromRecord(migrations) })
  })

const place = "Set WEFT_DATA_DIR (or WEFT_DATABASE_URL=sqlite:PATH) to a folder that the entry may write to."

const advice: ReadonlyArray<readonly [RegExp, string]> = [
  [/SQLITE_FULL|ENOSPC|disk is full/i, "the disk is full. Free some space, then start again."],
  [
    /SQLITE_NOTADB|not a database/i,
    "the file is no SQLite database. Move it away, or point WEFT_DATABASE_URL elsewhere."
  ],
  [/SQLITE_CORRUPT|malformed/i, "the file is damaged. Restore it from a backup."],
  [/SQLITE_BUSY|database is locked/i, "another process holds it. Stop the other entry, then start again."],
  [/EACCES|EPERM|EROFS|PermissionDenied|SQLITE_READONLY|readonly/i, `no right to write there. ${place}`],
  [/ENOTDIR|EEXIST|AlreadyExists|SQLITE_CANTOPEN|unable to open/i, `its folder cannot be made or opened. ${place}`]
]

/** Joins the messages and codes of an error and what caused it. */
const textOf = (cause: unknown, depth = 0): string => {
  if (!(cause instanceof Error) || depth > 4) return String(cause)
  const code = "code" in cause ? `${String(cause.code)} ` : ""
  return `${code}${cause.message}${cause.cause === undefined ? "" : `: ${textOf(cause.cause, depth + 1)}`}`
}
