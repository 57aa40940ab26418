/** The process of a pipeline's host: runs `PipelineHost.ts` until its engine closes the channel, or until it fails. */
import { Effect, Exit } from "effect"
import * as PipelineHost from "../pipeline/PipelineHost.ts"

// Ctrl-C, and a stop of the whole process group, reach the host too; it lives as long as its engine, which drains.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {})

const exit = await Effect.runPromiseExit(Effect.scoped(PipelineHost.run))
if (Exit.isFailure(exit)) process.stderr.write(`${exit.cause}\n`)
process.exit(Exit.isSuccess(exit) ? 0 : 1)
