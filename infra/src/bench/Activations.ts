/**
 * `activations`: what it costs and what it changes to hand hidden states on as half or a quarter of the bytes. Beside
 * the bundled model and one with random weights it takes any model's file, as what a type does to a model is that
 * model's own.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { ActivationType } from "@weft/engine/pipeline/Activations"
import { Effect } from "effect"
import * as Forced from "./activations/Forced.ts"
import type * as Benchmark from "./Benchmark.ts"
import * as Mesh from "./Mesh.ts"
import * as RandomModel from "./model/RandomModel.ts"
import * as Shape from "./model/Shape.ts"
import * as Programs from "./Programs.ts"
import * as Report from "./Report.ts"

const options = {
  tokens: { byDefault: 64, about: "positions that are compared" },
  stages: { byDefault: 3, about: "stages of each model, at least 2" },
  threads: { byDefault: 1, about: "compute threads" },
  seed: { byDefault: 1, about: "seed of the model with random weights" }
} as const satisfies Record<string, Benchmark.Option>

/** Measures what smaller hidden states change. */
export const activations: Benchmark.Benchmark<keyof typeof options> = {
  name: "activations",
  about: "tokens that stay the same where stages hand on f16 or q8, by architecture; takes MODEL.gguf… too",
  options,
  files: "MODEL.gguf",
  minutesMax: ({ tokens }) => 30 + tokens / 2,
  run: async (given, tell, files) => {
    const models = join(Programs.root, ".weft/bench/models")
    const random = () => RandomModel.make(models, Shape.small, given.seed, Mesh.tinyModel)
    const measured: Array<Measured> = []
    for (const path of files.length > 0 ? files : [Mesh.tinyModel, await random()]) {
      const one = { model: basename(path), ...(await measure({ ...given, path })) }
      for (const line of table(one)) tell(line)
      measured.push(one)
    }
    return {
      figures: { models: measured },
      reach: measured.flatMap(({ model, outcomes }) =>
        outcomes
          .filter(({ type }) => type === "f32")
          .map(({ agreement }) => Report.atLeast(`${model}: part of the tokens that f32 keeps`, agreement, 1))
      )
    }
  }
}

// internal

/** Measures one model, whose stages are gone afterwards. */
const measure = (given: Omit<Forced.ForcedOptions, "folder" | "types">): Promise<Forced.ForcedModel> => {
  const folder = mkdtempSync(join(tmpdir(), "weft-activations-"))
  return Effect.runPromise(Forced.measure({ ...given, folder, types: ActivationType.literals })).finally(() =>
    rmSync(folder, { recursive: true })
  )
}

interface Measured extends Forced.ForcedModel {
  readonly model: string
}

/** One line for each type. */
const table = ({ architecture, cuts, model, outcomes, tokens }: Measured): ReadonlyArray<string> => [
  `${model} (${architecture}), cut at ${cuts.join(" and ")}, ${tokens} tokens`,
  ...outcomes.map(({ agreement, asF32, bytesPerToken, firstDivergence, type }) =>
    [
      `  ${type.padEnd(4)} ${String(Math.round(bytesPerToken)).padStart(6)} bytes per token and edge`,
      `${(agreement * 100).toFixed(1).padStart(5)} % of the tokens the same`,
      firstDivergence === null ? "no other" : `the first other at ${firstDivergence}`,
      ...(asF32 > 0 ? [`${(asF32 * 100).toFixed(1)} % of the windows as f32`] : [])
    ].join(", ")
  )
]
