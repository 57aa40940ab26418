/** The entry's configuration: every `WEFT_…` name it reads, its default, and what may be written there. */
import { Config, ConfigError, Context, Effect, Either, Layer, Option, Redacted } from "effect"
import { type ApiKey, parseList } from "./ApiKeys.ts"
import * as FallbackConfig from "./fallback/FallbackConfig.ts"
import * as OtherEntries from "./performance/OtherEntries.ts"
import { PolicyName } from "./routing/Policies.ts"
import * as TrustList from "./routing/TrustList.ts"
import * as Tier from "./sla/Tier.ts"
import * as SplitActivations from "./split/SplitActivations.ts"

/** Represents the configuration of one entry. */
export interface EntryConfigShape {
  readonly httpHost: string
  /** 0 lets the system choose. */
  readonly httpPort: number
  readonly meshHost: string
  /** UDP. */
  readonly meshPort: number
  /** Folder of the identity, the database and what else must survive a restart. */
  readonly dataDir: string
  /** File of the SQLite database. */
  readonly databasePath: string
  /** Keys of `WEFT_API_KEYS`; only hashes. */
  readonly apiKeys: ReadonlyArray<ApiKey>
  readonly adminToken: Option.Option<Redacted.Redacted>
  /** Limit of keys that name none, and of all clients together where no key is needed; none: no limit. */
  readonly requestsPerMinute: Option.Option<number>
  readonly tokensPerMinute: Option.Option<number>
  /** Times an answer that has begun may go on at another peer. */
  readonly maxFailovers: number
  /** Splits models even where a peer could serve them whole, e.g. to measure. */
  readonly forceSplit: boolean
  /** How stages hand hidden states on; those of architectures that are not there are exact. */
  readonly splitActivations: SplitActivations.SplitActivations
  /** What models are expected to be good for. */
  readonly tiers: Tier.Tiers
  /** Who answers where the mesh is too slow; none: the mesh alone. */
  readonly fallback: Option.Option<FallbackConfig.FallbackConfig>
  /** Roots of the HTTP doors of other entries, whose measurements count here too. */
  readonly entries: ReadonlyArray<string>
  /** What entries show each other; without it samples are shown on loopback only. */
  readonly entriesToken: Option.Option<Redacted.Redacted>
  /** Whether every request comes through a proxy that adds to `X-Forwarded-For` who asked. */
  readonly trustedProxy: boolean
  /** How the peer of an answer is chosen. */
  readonly routing: PolicyName
  /** Who may carry which label of trust. */
  readonly trust: TrustList.TrustList
}

/** Gives the configuration of the entry. */
export class EntryConfig extends Context.Tag("@weft/entry/EntryConfig")<EntryConfig, EntryConfigShape>() {
  /** What holds where the environment says nothing. */
  static readonly defaults: EntryConfigShape = {
    httpHost: "127.0.0.1",
    httpPort: 8080,
    meshHost: "127.0.0.1",
    meshPort: 8443,
    dataDir: ".weft/entry",
    databasePath: ".weft/entry/entry.sqlite",
    apiKeys: [],
    adminToken: Option.none(),
    requestsPerMinute: Option.none(),
    tokensPerMinute: Option.none(),
    // An answer that killed three peers is likely to kill a fourth.
    maxFailovers: 2,
    forceSplit: false,
    entries: [],
    entriesToken: Option.none(),
    splitActivations: new Map(),
    tiers: Tier.tiersDefault,
    fallback: Option.none(),
    trustedProxy: false,
    routing: "predicted-ttft",
    trust: TrustList.empty
  }

  /** Makes a layer of the defaults and `partial`. */
  static readonly layer = (partial: Partial<EntryConfigShape>): Layer.Layer<EntryConfig> =>
    Layer.succeed(EntryConfig, { ...EntryConfig.defaults, ...partial })

  /** Reads the environment once; a value that is none fails with its name and what it should be. */
  static readonly layerFromEnv: Layer.Layer<EntryConfig, ConfigError.ConfigError> = Layer.effect(
    EntryConfig,
    Effect.suspend(() => config)
  )
}

/** Returns whether only this machine reaches what listens on `host`. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host)

/** Returns the file of a `sqlite:PATH` URL. */
export const databasePathOf = (url: string): Either.Either<string, string> => {
  if (/^postgres(ql)?:/i.test(url)) {
    return Either.left("this version keeps its data in SQLite alone: write sqlite:PATH, or leave it out")
  }
  const path = url.match(/^sqlite:(?:\/\/(?=\/))?(.+)$/i)?.[1]
  return path === undefined
    ? Either.left("write sqlite:PATH, e.g. sqlite:/var/lib/weft/entry.sqlite")
    : Either.right(path)
}

// internal

const { defaults } = EntryConfig

/** Most of anything per minute; more is no limit. */
const perMinute = (name: string, description: string): Config.Config<Option.Option<number>> =>
  Config.integer(name).pipe(
    Config.validate({
      message: "Expected a whole number of at least 1",
      validation: (value) => value >= 1 && value <= 1_000_000_000
    }),
    Config.option,
    Config.withDescription(description)
  )

const fields = Config.all({
  httpHost: Config.nonEmptyString("HTTP_HOST").pipe(
    Config.withDefault(defaults.httpHost),
    Config.withDescription("Address the HTTP door listens on; other than loopback it needs API keys.")
  ),
  httpPort: Config.integer("HTTP_PORT").pipe(
    Config.validate({ message: "Expected a port, 0 to 65535", validation: (port) => port >= 0 && port <= 65_535 }),
    Config.withDefault(defaults.httpPort),
    Config.withDescription("TCP port of the HTTP door; 0 lets the system choose.")
  ),
  meshHost: Config.nonEmptyString("MESH_HOST").pipe(
    Config.withDefault(defaults.meshHost),
    Config.withDescription("Address that peers reach the entry at.")
  ),
  meshPort: Config.integer("MESH_PORT").pipe(
    Config.validate({ message: "Expected a port, 0 to 65535", validation: (port) => port >= 0 && port <= 65_535 }),
    Config.withDefault(defaults.meshPort),
    Config.withDescription("UDP port that peers reach the entry at.")
  ),
  dataDir: Config.nonEmptyString("DATA_DIR").pipe(
    Config.withDefault(defaults.dataDir),
    Config.withDescription("Folder for what must survive a restart: identity and database.")
  ),
  databaseUrl: Config.nonEmptyString("DATABASE_URL").pipe(
    Config.option,
    Config.withDescription("sqlite:PATH; by default entry.sqlite in the data folder.")
  ),
  apiKeys: Config.redacted("API_KEYS").pipe(
    Config.option,
    Config.withDescription(
      "name:secret[:requestsPerMinute[:tokensPerMinute]][:region=LABEL][:trust=LABEL], separated by commas; " +
        "unset: open on loopback."
    )
  ),
  adminToken: Config.redacted("ADMIN_TOKEN").pipe(
    Config.option,
    Config.withDescription("Bearer token of the operator's own routes; unset: they are off.")
  ),
  requestsPerMinute: perMinute("REQUESTS_PER_MINUTE", "Requests per minute of a key that names no limit."),
  tokensPerMinute: perMinute("TOKENS_PER_MINUTE", "Tokens per minute of a key that names no limit."),
  maxFailovers: Config.integer("MAX_FAILOVERS").pipe(
    Config.validate({ message: "Expected 0 to 10", validation: (count) => count >= 0 && count <= 10 }),
    Config.withDefault(defaults.maxFailovers),
    Config.withDescription("Times an answer that has begun may go on at another peer when its peer fails.")
  ),
  forceSplit: Config.boolean("FORCE_SPLIT").pipe(
    Config.withDefault(defaults.forceSplit),
    Config.withDescription("1: models are split even where a peer could serve them whole.")
  ),
  routing: Config.literal(...PolicyName.literals)("ROUTING").pipe(
    Config.withDefault(defaults.routing),
    Config.withDescription(`How the peer of an answer is chosen: ${PolicyName.literals.join(", ")}.`)
  ),
  trust: Config.string("TRUST").pipe(
    Config.withDefault(""),
    Config.withDescription("label=PEERID, separated by commas: who may carry which label of trust.")
  ),
  splitActivations: Config.string("SPLIT_ACTIVATIONS").pipe(
    Config.withDefault(""),
    Config.withDescription(
      "architecture:type, separated by commas: stages hand hidden states on as f32 (exact, by default), f16 or q8."
    )
  ),
  entries: Config.string("ENTRIES").pipe(
    Config.withDefault(""),
    Config.withDescription("URLs of other entries, separated by commas: what they measure counts here too.")
  ),
  entriesToken: Config.redacted("ENTRIES_TOKEN").pipe(
    Config.option,
    Config.withDescription("Secret that entries show each other; unset: samples are shown on loopback only.")
  ),
  tiers: Config.nonEmptyString("TIERS").pipe(
    Config.option,
    Config.withDescription("tier=pattern|pattern, separated by commas: what models are good for; unset: by their size.")
  ),
  fallback: FallbackConfig.config,
  trustedProxy: Config.boolean("TRUSTED_PROXY").pipe(
    Config.withDefault(defaults.trustedProxy),
    Config.withDescription("1: a proxy in front says in X-Forwarded-For who asked; without one anybody could.")
  )
}).pipe(Config.nested("WEFT"))

const invalid = (name: string, reason: string): ConfigError.ConfigError =>
  ConfigError.InvalidData(["WEFT", name], reason)

const config: Effect.Effect<EntryConfigShape, ConfigError.ConfigError> = Effect.gen(function* () {
  const { databaseUrl, apiKeys, entries, splitActivations, tiers, trust, ...rest } = yield* fields
  const databasePath = Option.match(databaseUrl, {
    onNone: () => Either.right(`${rest.dataDir}/entry.sqlite`),
    onSome: databasePathOf
  })
  return {
    ...rest,
    entries: yield* Either.mapLeft(OtherEntries.parseList(entries), (reason) => invalid("ENTRIES", reason)),
    splitActivations: yield* Either.mapLeft(SplitActivations.parseList(splitActivations), ({ message }) =>
      invalid("SPLIT_ACTIVATIONS", message)
    ),
    tiers: yield* Option.match(tiers, {
      onNone: () => Either.right(defaults.tiers),
      onSome: (text) => Either.mapLeft(Tier.parseList(text), ({ message }) => invalid("TIERS", message))
    }),
    trust: yield* Either.mapLeft(TrustList.parseList(trust), ({ message }) => invalid("TRUST", message)),
    databasePath: yield* Either.mapLeft(databasePath, (reason) => invalid("DATABASE_URL", reason)),
    apiKeys: yield* Either.mapLeft(
      parseList(Option.match(apiKeys, { onNone: () => "", onSome: Redacted.value })),
      (error) => invalid("API_KEYS", error.message)
    )
  }
})
