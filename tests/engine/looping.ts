/** Drives a batch loop in the test's own process: models opened here, requests run to their ends. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as BatchLoop from "@weft/engine/BatchLoop"
import type { GenerateEvent } from "@weft/engine/Generation"
import * as RandomModel from "@weft/infra/bench/model/RandomModel"
import type { Shape } from "@weft/infra/bench/model/Shape"
import * as Llama from "../../packages/engine/src/internal/llama/Llama.ts"
import { models } from "./asking.ts"

/** Represents the model to open: a file, or one to write. */
export type Opening = Omit<BatchLoop.BatchLoopLimits, "pairRows"> &
  ({ readonly path: string } | { readonly shape: Shape; readonly seed?: number })

/** Writes a model with random weights into `folder`, with the words of the bundled ones; returns its path. */
export const writeModel = (folder: string, shape: Shape, seed = 1): Promise<string> =>
  RandomModel.make(folder, shape, seed, models.small)

/** Opens a model in this process, one thread. */
export const openLlama = async (opening: Opening): Promise<Llama.Llama> => {
  const { contextTokens, profile, slots } = opening
  const folder = mkdtempSync(join(tmpdir(), "weft-loop-"))
  const path = "path" in opening ? opening.path : await writeModel(folder, opening.shape, opening.seed)
  const sizes = { contextTokens, slots, profile, rowsMax: BatchLoop.rowsMax(opening), threads: 1 }
  const llama = Llama.open({ path, accelerator: "cpu", gpuLayers: 0, onProgress: () => {}, ...sizes })
  rmSync(folder, { recursive: true })
  return llama
}

/** Represents a request and the turn before which it comes. */
export type Arrival = BatchLoop.PreparedRequest & { readonly turn?: number }

/** Runs requests to their ends; returns the events of each, in the order of the requests. */
export const runLoop = (
  loop: BatchLoop.BatchLoop,
  arrivals: ReadonlyArray<Arrival>
): ReadonlyArray<ReadonlyArray<GenerateEvent>> => {
  const events: ReadonlyArray<Array<GenerateEvent>> = arrivals.map(() => [])
  const lastTurn = Math.max(...arrivals.map(({ turn }) => turn ?? 0))
  for (let turn = 0; turn <= lastTurn || !loop.idle(); turn++) {
    for (const [key, arrival] of arrivals.entries()) if ((arrival.turn ?? 0) === turn) loop.submit(key, arrival)
    for (const [key, event] of loop.turn()) events[key]?.push(event)
  }
  return events
}
