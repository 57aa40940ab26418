/** The `keys` command on a real database: made, shown once, listed, revoked, and nothing written for wrong wishes. */
import { expect } from "bun:test"
import { Command } from "@effect/cli"
import { BunContext } from "@effect/platform-bun"
import { ApiKeyStore } from "@weft/entry/ApiKeyStore"
import { hashOf } from "@weft/entry/ApiKeys"
import { keys } from "@weft/entry/commands/keys"
import * as Database from "@weft/entry/Database"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { Console, Effect, Layer } from "effect"
import { it } from "../support/effect.ts"
import { folder } from "./support.ts"

/** Runs the command on a line whose first two words are not looked at. */
const run = Command.run(keys, { name: "keys", version: "1" })

/** Runs command lines on one new database and returns what each printed, or its error. */
const session = (...lines: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const databasePath = `${yield* folder}/entry.sqlite`
    const services = yield* Layer.build(
      ApiKeyStore.layer.pipe(
        Layer.provide(Database.layer),
        Layer.provide(EntryConfig.layer({ databasePath })),
        Layer.provideMerge(BunContext.layer)
      )
    )
    const real = yield* Console.consoleWith(Effect.succeed)
    return yield* Effect.forEach(lines, (line) =>
      Effect.gen(function* () {
        const printed: Array<string> = []
        const log = (...parts: ReadonlyArray<unknown>) => Effect.sync(() => void printed.push(parts.join(" ")))
        yield* run(["bun", "entry", ...line.split(" ")]).pipe(
          Effect.catchAll((error) => Effect.sync(() => void printed.push(`error: ${String(error)}`))),
          Effect.withConsole({ ...real, log, error: log })
        )
        return printed.join("\n")
      })
    ).pipe(Effect.provide(services))
  })

it.live("a key is made, shown once, listed without its secret, and revoked", () =>
  Effect.gen(function* () {
    const [none, made, list, revoked, after, again, twice] = yield* session(
      "list",
      "create ann --requests-per-minute 5 --json",
      "list --json",
      "revoke ann",
      "list",
      "revoke ann",
      "create ann"
    )
    expect(none).toContain("keys create NAME")
    const { secret, ...shown } = JSON.parse(made ?? "")
    expect(secret).toMatch(/^weft-[A-Za-z0-9_-]{43}$/)
    expect(shown).toMatchObject({ name: "ann", origin: "command", state: "valid" })
    expect(shown.limits).toBe("5 requests/min, default tokens/min")
    expect(JSON.parse(list ?? "")).toEqual([shown])
    for (const text of [list, after, revoked]) {
      expect(text).not.toContain(secret)
      expect(text).not.toContain(hashOf(secret))
    }
    expect(revoked).toContain("'ann' is refused")
    expect(after).toMatch(/ann\t.*\trevoked/)
    expect(again).toContain("No valid key is named 'ann'")
    expect(twice).toContain("Choose another name")
  })
)

it.live("a key may require labels of its peers, and a label that is none is refused", () =>
  Effect.gen(function* () {
    const [made, list, wrong] = yield* session(
      "create ann --region eu-west --trust staff --json",
      "list --json",
      "create bob --trust Staff"
    )
    expect(JSON.parse(made ?? "")).toMatchObject({ name: "ann", requires: "region=eu-west trust=staff" })
    expect(JSON.parse(list ?? "")).toMatchObject([{ name: "ann", requires: "region=eu-west trust=staff" }])
    expect(wrong).toContain("a-z, 0-9 and -")
  })
)

it.live("a name or limit that is none is refused before anything is written", () =>
  Effect.gen(function* () {
    const [name, limit, list] = yield* session("create ..", "create bob --tokens-per-minute 0", "list --json")
    expect(name).toMatch(/error/i)
    expect(limit).toMatch(/error/i)
    expect(list).toBe("[]")
  })
)
