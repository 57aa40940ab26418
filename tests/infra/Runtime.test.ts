/** The programs run with the same settings of Bun however they are started. */
import { expect } from "bun:test"
import { runtimeEnvironment } from "@weft/infra/Runtime"
import { Effect, Schema } from "effect"
import { it } from "../support/effect.ts"

const Manifest = Schema.parseJson(
  Schema.Struct({ scripts: Schema.Struct({ entry: Schema.String, peer: Schema.String }) })
)

it.effect("the scripts of package.json start the programs as the demo and the benchmarks do", () =>
  Effect.gen(function* () {
    const text = yield* Effect.promise(() => Bun.file(new URL("../../package.json", import.meta.url)).text())
    const { scripts } = yield* Schema.decode(Manifest)(text)
    const settings = Object.entries(runtimeEnvironment).map(([name, value]) => `${name}=${value} `)
    for (const program of ["entry", "peer"] as const) {
      expect(scripts[program]).toBe(`${settings.join("")}bun run apps/${program}/src/main.ts`)
    }
  })
)
