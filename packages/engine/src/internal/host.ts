/** The engine host's process: its only argument-free purpose is to run `EngineHost.ts` on descriptor 3 until it ends. */
import { Effect, Exit } from "effect"
import * as EngineHost from "../EngineHost.ts"

// Ctrl-C reaches the whole process group; the host lives as long as its supervisor, which drains first.
process.on("SIGINT", () => {})

const exit = await Effect.runPromiseExit(Effect.scoped(EngineHost.run))
if (Exit.isFailure(exit)) process.stderr.write(`${exit.cause}\n`)
process.exit(Exit.isSuccess(exit) ? 0 : 1)
