/** What runs, for the one series that dashboards join on; in prom-client's global register. */
import { Config, Effect } from "effect"
import { Gauge } from "prom-client"
import { version } from "./Version.ts"

const buildInfo = new Gauge({
  name: "weft_build_info",
  help: "Always 1; its labels say what runs: version and commit of the program, version of Bun",
  labelNames: ["version", "commit", "bun"] as const
})

/** Sets the series; whoever builds an image writes its commit to `WEFT_COMMIT`. */
export const observeBuild = Effect.map(Config.withDefault(Config.string("WEFT_COMMIT"), "unknown"), (commit) =>
  buildInfo.set({ version, commit, bun: Bun.version }, 1)
)
