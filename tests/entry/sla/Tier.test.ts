/** Which tier names of models belong to: the default patterns on real names, and patterns of an operator. */
import { expect } from "bun:test"
import { parseList, tierOf, tiersDefault } from "@weft/entry/sla/Tier"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const dailyDrivers = [
  "Llama-3.2-1B-Instruct-Q4_K_M",
  "llama3.2:3b",
  "llama-2-7b.Q4_K_M",
  "org/Qwen2.5-0.5B-Instruct",
  "qwen3-8b",
  "Qwen3-30B-A3B-Instruct",
  "SmolLM2-135M-Instruct",
  "Phi-3.5-3.8B",
  "tiny-small-f16"
]
const capacity = [
  "Llama-3.3-70B-Instruct-Q4_K_M",
  "mixtral-8x7b-v0.1",
  "qwen2.5:32b",
  "gpt-oss-120b",
  "Qwen3-235B-A22B"
]
const experimental = ["mystery", "Llama-4bit", "some-team-model", "x8b", ""]

it.effect("the default patterns know models by the size in their names; what they do not know is experimental", () =>
  Effect.sync(() => {
    for (const model of dailyDrivers) expect([model, tierOf(tiersDefault, model)]).toEqual([model, "daily-driver"])
    for (const model of capacity) expect([model, tierOf(tiersDefault, model)]).toEqual([model, "capacity"])
    expect(tierOf(tiersDefault, "Llama-70B-4bit")).toBe("capacity")
    for (const model of experimental) expect([model, tierOf(tiersDefault, model)]).toEqual([model, "experimental"])
  })
)

it.effect("the first rule that matches counts, whole names match, and case and joints make no difference", () =>
  Effect.sync(() => {
    const tiers = Either.getOrThrow(parseList("experimental=a-?, daily-driver=a*b*c|B/D ,capacity=*"))
    const names = { "a-b": "experimental", A_B: "experimental", abc: "daily-driver", "a-xbx-c": "daily-driver" }
    for (const [name, tier] of Object.entries(names)) expect([name, `${tierOf(tiers, name)}`]).toEqual([name, tier])
    expect([tierOf(tiers, "b:d"), tierOf(tiers, "xb:d"), tierOf(tiers, "a")]).toEqual([
      "daily-driver",
      "capacity",
      "capacity"
    ])
  })
)

it.effect("a pattern of many stars costs little on a long name", () =>
  Effect.sync(() => {
    const tiers = Either.getOrThrow(parseList(`capacity=${"*a".repeat(60)}b`))
    expect(tierOf(tiers, "a".repeat(256))).toBe("experimental")
    expect(tierOf(tiers, `${"a".repeat(255)}b`)).toBe("capacity")
  })
)

const letters = (characters: string, most: number) =>
  FastCheck.array(FastCheck.constantFrom(...characters), { maxLength: most }).map((all) => all.join(""))

it.prop(
  "patterns match what the same regular expression matches",
  FastCheck.tuple(
    letters("ab*?", 8).filter((pattern) => pattern !== ""),
    letters("ab", 10)
  ),
  ([pattern, name]) =>
    Effect.sync(() => {
      const source = pattern.replaceAll("*", ".*").replaceAll("?", ".")
      const tiers = Either.getOrThrow(parseList(`capacity=${pattern}`))
      expect(tierOf(tiers, name) === "capacity").toBe(new RegExp(`^${source}$`).test(name))
    }),
  { runs: 500 }
)
