/** stub */
import type { Benchmark } from "./Benchmark.ts"
export const failover: Benchmark = {
  name: "failover",
  about: "",
  options: {},
  minutesMax: () => 1,
  run: async () => ({ figures: {}, reach: [] })
}
