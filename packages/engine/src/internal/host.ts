/** The engine host's process: runs `EngineHost.ts` until its supervisor closes the channel, or until it fails. */
import { Effect, Exit } from "effect"
import * as EngineHost from "../EngineHost.ts"

// Ctrl-C reaches the whole process group; the host lives as long as its supervisor, which drains first.
process.on("SIGINT", () => {})

const exit = await Effect.runPromiseExit(Effect.scoped(EngineHost.run))
if (Exit.isFailure(exit)) process.stderr.write(`${exit.cause}\n`)
process.exit(Exit.isSuccess(exit) ? 0 : 1)
