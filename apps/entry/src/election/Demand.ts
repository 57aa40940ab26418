/**
 * How often each elective model was asked for lately. Counting is one look-up in the way of a request; the smoothing
 * happens when the election looks.
 */
import { Context, Layer } from "effect"

/** Counts requests of the models that are elected among; others are not counted, so clients cannot fill it. */
export class Demand extends Context.Tag("@weft/entry/Demand")<
  Demand,
  {
    /** Notes one request, served or not. */
    readonly asked: (model: string) => void
    /** Returns the smoothed counts, and counts exactly `models` from now on; called every `elapsedMs`. */
    readonly look: (models: ReadonlySet<string>, elapsedMs: number) => ReadonlyMap<string, number>
  }
>() {
  static readonly layer: Layer.Layer<Demand> = Layer.sync(Demand, () => make())
}

/** Time in which a request comes to count half: the election follows what is wanted in minutes, not in seconds. */
const halfLifeMs = 120_000

// internal

const make = (): typeof Demand.Service => {
  let smoothed = new Map<string, number>()
  const asked = new Map<string, number>()
  return {
    asked: (model) => {
      const count = asked.get(model)
      if (count !== undefined) asked.set(model, count + 1)
    },
    look: (models, elapsedMs) => {
      const left = 0.5 ** (elapsedMs / halfLifeMs)
      smoothed = new Map(
        [...models].map((model) => [model, (smoothed.get(model) ?? 0) * left + (asked.get(model) ?? 0)])
      )
      asked.clear()
      for (const model of models) asked.set(model, 0)
      return smoothed
    }
  }
}
