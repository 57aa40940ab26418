/** Drives a batch loop in the test's own process: models opened here, requests run to their ends. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as BatchLoop from "@weft/engine/BatchLoop"
import type { GenerateEvent } from "@weft/engine/Generation"
import * as Llama from "../../packages/engine/src/internal/llama/Llama.ts"
import * as randomModel from "../support/randomModel.ts"

/** Represents the model to open: a file, or one to write. */
export type Opening = Omit<BatchLoop.BatchLoopLimits, "pairRows"> &
  ({ readonly path: string } | { readonly model: randomModel.RandomModel })

/** Opens a model in this process, one thread. */
export const openLlama = (opening: Opening): Llama.Llama => {
  const { contextTokens, profile, slots } = opening
  const folder = mkdtempSync(join(tmpdir(), "weft-loop-"))
  const path = "path" in opening ? opening.path : join(folder, "random.gguf")
  if ("model" in opening) writeFileSync(path, randomModel.bytes(opening.model))
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
