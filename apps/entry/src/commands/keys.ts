/** `keys create | list | revoke`: the operator's way to the keys; a running entry follows within a second. */
import { Args, Command, Options } from "@effect/cli"
import { Label } from "@weft/mesh/Labels"
import { Console, Effect, Option, Schema } from "effect"
import { ApiKeyStore, type StoredKey } from "../ApiKeyStore.ts"
import { ApiKeyName, fromSecret, makeSecret } from "../ApiKeys.ts"

const name = Args.text({ name: "name" }).pipe(
  Args.withSchema(ApiKeyName),
  Args.withDescription("What the key's holder is called: letters, digits, dots, dashes, underscores, @.")
)

const json = Options.boolean("json").pipe(Options.withDescription("Print JSON."))

const perMinute = (unit: "requests" | "tokens") =>
  Options.integer(`${unit}-per-minute`).pipe(
    Options.withSchema(Schema.Int.pipe(Schema.between(1, 1_000_000_000))),
    Options.optional,
    Options.withDescription(`Most ${unit} per minute; left out: the entry's default.`)
  )

const label = (kind: "region" | "trust") =>
  Options.text(kind).pipe(
    Options.withSchema(Label),
    Options.optional,
    Options.withDescription(`Label of ${kind} that peers must carry to answer this key; left out: any.`)
  )

const create = Command.make(
  "create",
  {
    name,
    requests: perMinute("requests"),
    tokens: perMinute("tokens"),
    region: label("region"),
    trust: label("trust"),
    json
  },
  ({ name, requests, tokens, region, trust, json }) =>
    Effect.gen(function* () {
      const secret = makeSecret()
      const key = yield* (yield* ApiKeyStore).create(
        fromSecret(name, secret, {
          requestsPerMinute: Option.getOrNull(requests),
          tokensPerMinute: Option.getOrNull(tokens),
          region: Option.getOrNull(region),
          trust: Option.getOrNull(trust)
        })
      )
      yield* Console.log(
        json
          ? JSON.stringify({ ...toShown(key), secret })
          : `${secret}\nThis is the key of '${name}'. It is shown once and not kept: store it now.`
      )
    })
).pipe(Command.withDescription("Make a key and show it once."))

const list = Command.make("list", { json }, ({ json }) =>
  Effect.gen(function* () {
    const keys = (yield* (yield* ApiKeyStore).list).map(toShown)
    yield* Console.log(
      json
        ? JSON.stringify(keys)
        : keys.length === 0
          ? "There are no keys. Make one with: keys create NAME"
          : keys
              .map((key) => `${key.name}\t${key.key}\t${key.limits}\t${key.requires}\t${key.origin}\t${key.state}`)
              .join("\n")
    )
  })
).pipe(Command.withDescription("Show every key; never a secret."))

const revoke = Command.make("revoke", { name, json }, ({ name, json }) =>
  Effect.gen(function* () {
    yield* (yield* ApiKeyStore).revoke(name)
    yield* Console.log(
      json ? JSON.stringify({ name, state: "revoked" }) : `The key of '${name}' is refused from now on.`
    )
  })
).pipe(Command.withDescription("Refuse a key from now on."))

/** The command with its verbs; needs the store of the entry's database. */
export const keys = Command.make("keys").pipe(
  Command.withDescription("The API keys of this entry."),
  Command.withSubcommands([create, list, revoke])
)

// internal

/** What of a key is shown. */
const toShown = (key: StoredKey) => ({
  name: key.name,
  key: key.last4 === "" ? `sha256:${key.hash.slice(0, 8)}…` : `${key.prefix}…${key.last4}`,
  limits: `${key.requestsPerMinute ?? "default"} requests/min, ${key.tokensPerMinute ?? "default"} tokens/min`,
  requires: [
    ...(key.region === null ? [] : [`region=${key.region}`]),
    ...(key.trust === null ? [] : [`trust=${key.trust}`])
  ].join(" "),
  origin: key.origin,
  createdAt: new Date(key.createdAtMs).toISOString(),
  state: key.revokedAtMs === null ? "valid" : "revoked"
})
