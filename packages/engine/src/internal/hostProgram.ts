/** What the process of the engine host runs. */
import * as EngineHost from "../EngineHost.ts"
import { runHost } from "./runHost.ts"

runHost(EngineHost.run)
