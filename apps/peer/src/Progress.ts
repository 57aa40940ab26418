/** What `peer up` tells while it starts, serves and stops: lines for people, one JSON object per line for programs. */
import type { StageRange } from "@weft/engine/stage/StageKeys"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import type { PeerId } from "@weft/mesh/PeerId"
import { Console, Effect } from "effect"
import * as Terminal from "./Terminal.ts"

/** Represents the things worth a line in a peer's life. */
export interface Progress {
  /** Returns the callback of one load, which takes 0…1 and prints when a person would see a difference. */
  readonly loading: (path: string) => (fraction: number) => void
  readonly loaded: (model: ModelDescription) => Effect.Effect<void>
  /** It was checked and is not loaded: an election may want it. */
  readonly standingBy: (model: ModelDescription) => Effect.Effect<void>
  /** Its layers are lent, those of `only` where that is there. */
  readonly lent: (model: ModelDescription, layers: number, only: StageRange | undefined) => Effect.Effect<void>
  /** The model of that file guesses where this peer hosts `model`. */
  readonly drafting: (model: ModelDescription, path: string) => Effect.Effect<void>
  readonly refused: (path: string, why: string) => Effect.Effect<void>
  readonly listening: (url: string) => Effect.Effect<void>
  readonly registered: (to: {
    readonly id: PeerId
    readonly entry: string
    readonly address: string
  }) => Effect.Effect<void>
  readonly lost: (why: string) => Effect.Effect<void>
  readonly leaving: Effect.Effect<void>
}

/** A tenth of a load is worth a line. */
const stepsOfLoad = 10

/** Returns the teller. */
export const make = (json: boolean): Progress => {
  const tell = (event: string, fields: Readonly<Record<string, unknown>>, text: string): Effect.Effect<void> =>
    Console.log(json ? JSON.stringify({ event, ...fields }) : Terminal.printable(text))
  /** Why the entry was last out of reach: tries go on for hours, and the same reason is worth one line. */
  let toldLost: string | undefined
  return {
    loading: (path) => {
      let told = 0
      return (fraction) => {
        const step = Math.floor(fraction * stepsOfLoad)
        if (step <= told && fraction > 0) return
        told = step
        // The load's callback is plain code of the engine's socket, so the line is printed at once.
        Effect.runSync(tell("loading", { path, fraction }, `loading ${path}  ${Math.round(fraction * 100)} %`))
      }
    },
    loaded: (model) =>
      tell(
        "loaded",
        { model },
        `serving ${model.id}  (${model.quantization}, context ${model.contextTokens}, ${model.slots} slots)`
      ),
    standingBy: (model) =>
      tell("standby", { model }, `standing by with ${model.id}  (${model.quantization}): no room beside the others`),
    lent: (model, layers, only) =>
      tell(
        "lent",
        { model, layers, ...(only === undefined ? {} : { only }) },
        `lending layers of ${model.id}  (${model.quantization}, ${
          only === undefined ? `all ${layers}` : `${only.from} up to ${only.to} of ${layers}`
        }, context ${model.contextTokens}, ${model.slots} slots)`
      ),
    drafting: ({ id }, path) => tell("drafting", { model: id, path }, `guessing for ${id} with ${path}`),
    refused: (path, why) => tell("refused", { path, why }, `refused ${path}: ${why}`),
    listening: (url) => tell("listening", { url }, `status  ${url}/status  metrics ${url}/metrics`),
    registered: (to) =>
      Effect.suspend(() => {
        toldLost = undefined
        return tell("registered", to, `ready   ${to.id} at ${to.entry}`)
      }),
    lost: (why) =>
      Effect.suspend(() => {
        if (why === toldLost) return Effect.void
        toldLost = why
        return tell("lost", { why }, `waiting for the entry: ${why}`)
      }),
    leaving: tell("leaving", {}, "leaving: finishing the running answers (again to stop at once)")
  }
}
