/** What the process of a pipeline's host runs. */
import * as PipelineHost from "../pipeline/PipelineHost.ts"
import { runHost } from "./runHost.ts"

runHost(PipelineHost.run)
