/** The provider that stands in for the mesh: what of `WEFT_FALLBACK_…` says where it is and what may go there. */
import { Config, ConfigError, Either, Option, type Redacted } from "effect"
import { isTierName, type TierName, tierNames } from "../sla/Tier.ts"

/** Represents a provider that may be asked. */
export interface FallbackConfig {
  /** Where its OpenAI-compatible API begins, without a slash at the end, e.g. `https://api.example.com/v1`. */
  readonly url: string
  readonly key: Redacted.Redacted
  /** The provider's names of models by the mesh's. */
  readonly models: ReadonlyMap<string, string>
  /** Whether models that `models` does not name go there by their own name. */
  readonly hasAllModels: boolean
  readonly tiers: ReadonlySet<TierName>
  /** Answers that one address may have of it within an hour. */
  readonly perAddressHour: number
}

/** Returns the provider's name of a model; undefined where it has none. */
export const providerModel = (config: FallbackConfig, model: string): string | undefined =>
  config.models.get(model) ?? (config.hasAllModels ? model : undefined)

/** Most models of a mapping. */
const modelsMax = 1_024
/** Answers an hour where the operator names no number: a person who chats, and no program. */
const perAddressHourDefault = 20

/** Reads `WEFT_FALLBACK_…` inside of `WEFT`; none where there is no address or no key. */
export const config: Config.Config<Option.Option<FallbackConfig>> = Config.suspend(() =>
  Config.map(fields, ({ key, models, url, ...rest }) =>
    Option.zipWith(url, key, (url, key) => ({ url, key, ...models, ...rest }))
  )
)

// internal

type Parsed<A> = Either.Either<A, ConfigError.ConfigError>

const invalid = (name: string, reason: string): Parsed<never> =>
  Either.left(ConfigError.InvalidData(["WEFT", name], reason))

const toUrl = (text: string): Parsed<string> => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url !== undefined && /^https?:$/.test(url.protocol) && `${url.username}${url.search}${url.hash}` === ""
    ? Either.right(url.href.replace(/\/+$/, ""))
    : invalid("FALLBACK_URL", "Expected the base URL of an OpenAI-compatible API, e.g. https://HOST/v1")
}

const words = (text: string): ReadonlyArray<string> =>
  text
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "")

const toModels = (text: string): Parsed<Pick<FallbackConfig, "models" | "hasAllModels">> => {
  const parts = words(text)
  const pairs = parts.filter((part) => part !== "*").map((part) => part.split("=").map((name) => name.trim()))
  const models = new Map(pairs.map(([mesh = "", provider = ""]) => [mesh, provider]))
  const isGood = pairs.every((names) => names.length === 2 && names.every((name) => name !== "" && name.length <= 256))
  return isGood && models.size <= modelsMax
    ? Either.right({ models, hasAllModels: parts.includes("*") })
    : invalid("FALLBACK_MODELS", `Expected MESH-MODEL=PROVIDER-MODEL or *, at most ${modelsMax}, separated by commas`)
}

const toTiers = (text: string): Parsed<ReadonlySet<TierName>> => {
  const tiers = words(text).filter(isTierName)
  return tiers.length === words(text).length
    ? Either.right(new Set(tiers))
    : invalid("FALLBACK_TIERS", `Expected some of ${tierNames.join(", ")}, separated by commas`)
}

const fields = Config.all({
  url: Config.nonEmptyString("FALLBACK_URL").pipe(
    Config.mapOrFail(toUrl),
    Config.option,
    Config.withDescription("Base URL of the provider that answers where the mesh is too slow, e.g. https://HOST/v1.")
  ),
  key: Config.redacted(Config.nonEmptyString("FALLBACK_KEY")).pipe(
    Config.option,
    Config.withDescription("The key at that provider; unset: nothing goes there.")
  ),
  models: Config.string("FALLBACK_MODELS").pipe(
    Config.withDefault(""),
    Config.mapOrFail(toModels),
    Config.withDescription("mesh=provider, separated by commas: what models are called there; *: all as they are here.")
  ),
  tiers: Config.string("FALLBACK_TIERS").pipe(
    Config.withDefault("daily-driver,capacity"),
    Config.mapOrFail(toTiers),
    Config.withDescription("Tiers whose requests may go there.")
  ),
  perAddressHour: Config.integer("FALLBACK_PER_IP_HOUR").pipe(
    Config.validate({
      message: "Expected a whole number, 0 to 1000000",
      validation: (count) => count >= 0 && count <= 1_000_000
    }),
    Config.withDefault(perAddressHourDefault),
    Config.withDescription("Answers that one address may have from there within an hour.")
  )
})
