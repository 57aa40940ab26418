/** stub */
import type { Benchmark } from "./Benchmark.ts"
export const load: Benchmark = {
  name: "load",
  about: "",
  options: {},
  minutesMax: () => 1,
  run: async () => ({ figures: {}, reach: [] })
}
