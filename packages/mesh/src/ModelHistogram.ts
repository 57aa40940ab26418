/**
 * A histogram by model of what happens once a token. prom-client looks labels up and walks buckets at each observation,
 * which from cold caches is a tenth of all that a peer does for a token; here a value is kept by one write, and counted
 * when somebody scrapes.
 */
import { Histogram } from "prom-client"

/** Values of a model that are kept before they are counted: 8 KiB. */
const keptMax = 1024

/** Represents how a histogram is called; `buckets` are upper bounds in the unit of its name. */
export interface ModelHistogramOptions {
  readonly name: string
  readonly help: string
  readonly buckets: ReadonlyArray<number>
}

/** A histogram on prom-client's global register, with the one label `model`. */
export class ModelHistogram {
  readonly #histogram: Histogram<"model">
  /** As many as there are models: whoever observes keeps names of strangers out. */
  readonly #kept = new Map<string, { readonly values: Float64Array; length: number }>()

  constructor({ buckets, help, name }: ModelHistogramOptions) {
    const count = (): void => this.#countAll()
    this.#histogram = new Histogram({ name, help, labelNames: ["model"], buckets: [...buckets], collect: count })
  }

  /** Takes note of a value. */
  observe(model: string, value: number): void {
    let kept = this.#kept.get(model)
    if (kept === undefined) {
      kept = { values: new Float64Array(keptMax), length: 0 }
      this.#kept.set(model, kept)
    }
    kept.values[kept.length++] = value
    if (kept.length === keptMax) this.#countAll()
  }

  #countAll(): void {
    for (const [model, kept] of this.#kept) {
      for (const value of kept.values.subarray(0, kept.length)) this.#histogram.observe({ model }, value)
      kept.length = 0
    }
  }
}
