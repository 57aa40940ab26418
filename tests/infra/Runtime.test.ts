/** The programs run with the same settings of Bun however they are started. */
import { expect } from "bun:test"
import { runtimeEnvironment } from "@weft/infra/Runtime"
import { Effect, Schema } from "effect"
import { it } from "../support/effect.ts"

const Manifest = Schema.parseJson(
  Schema.Struct({ scripts: Schema.Struct({ entry: Schema.String, peer: Schema.String }) })
)

const repositoryFile = (path: string) =>
  Effect.promise(() => Bun.file(new URL(`../../${path}`, import.meta.url)).text())

const settings = Object.entries(runtimeEnvironment).map(([name, value]) => `${name}=${value}`)

it.effect("the scripts of package.json start the programs as the demo and the benchmarks do", () =>
  Effect.gen(function* () {
    const { scripts } = yield* Schema.decode(Manifest)(yield* repositoryFile("package.json"))
    for (const program of ["entry", "peer"] as const) {
      expect(scripts[program]).toBe(`${settings.join(" ")} bun run apps/${program}/src/main.ts`)
    }
  })
)

it.effect("services and containers start them so too", () =>
  Effect.gen(function* () {
    for (const program of ["entry", "peer"]) {
      const unit = yield* repositoryFile(`infra/systemd/weft-${program}.service`)
      const container = yield* repositoryFile(`infra/containers/${program}.Containerfile`)
      for (const setting of settings) {
        expect(unit.split("\n")).toContain(`Environment=${setting}`)
        expect(container.split(/\s+/)).toContain(setting)
      }
    }
  })
)
