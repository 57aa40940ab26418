/** stub */
import type { Benchmark } from "./Benchmark.ts"
export const gateway: Benchmark = {
  name: "gateway",
  about: "",
  options: {},
  minutesMax: () => 1,
  run: async () => ({ figures: {}, reach: [] })
}
