/** The process of a stage's host: runs `StageHost.ts` until its supervisor closes the channel, or until it fails. */
import { Effect, Exit } from "effect"
import * as StageHost from "../pipeline/StageHost.ts"

// Ctrl-C, and a stop of the whole process group, reach the host too; it lives as long as its supervisor, which drains.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {})

const exit = await Effect.runPromiseExit(Effect.scoped(StageHost.run))
if (Exit.isFailure(exit)) process.stderr.write(`${exit.cause}\n`)
process.exit(Exit.isSuccess(exit) ? 0 : 1)
