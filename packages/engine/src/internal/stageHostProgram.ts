/** What the process of a stage's host runs. */
import * as StageHost from "../pipeline/StageHost.ts"
import { runHost } from "./runHost.ts"

runHost(StageHost.run)
