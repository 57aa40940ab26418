/** The process of a pipeline's host: runs `PipelineHost.ts` until its engine closes the channel, or until it fails. */
import { type Cause, Effect, Exit } from "effect"
import * as PipelineHost from "../pipeline/PipelineHost.ts"

// Ctrl-C, and a stop of the whole process group, reach the host too; it lives as long as its engine, which drains.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {})

// Written before the channel closes, at which the engine kills the process.
const say = (cause: Cause.Cause<unknown>) => Effect.sync(() => process.stderr.write(`${cause}\n`))
const exit = await Effect.runPromiseExit(Effect.scoped(Effect.tapErrorCause(PipelineHost.run, say)))
process.exit(Exit.isSuccess(exit) ? 0 : 1)
