/** The entry as a program. */
import { BunContext, BunRuntime } from "@effect/platform-bun"
import { Effect } from "effect"
import * as Cli from "./Cli.ts"

Cli.run(process.argv).pipe(
  Effect.provide(BunContext.layer),
  BunRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true, teardown: Cli.teardown })
)
