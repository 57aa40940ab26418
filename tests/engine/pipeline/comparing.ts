/** Answers of a pipeline beside those of one host that has the whole model. */
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { GenerateRequest } from "@weft/engine/Generation"
import type * as ModelFile from "@weft/engine/ModelFile"
import type * as PipelineEngine from "@weft/engine/pipeline/PipelineEngine"
import { Effect } from "effect"
import { type Answer, answer, ask } from "../asking.ts"
import { contextTokens, type Task } from "./staging.ts"

/** Returns the request that a task is. */
export const request = (
  { maxTokens, prompt, sampling, seed }: Task,
  changes: Partial<GenerateRequest> = {}
): GenerateRequest =>
  ask({ _tag: "Tokens", tokens: prompt }, { sampling: { ...sampling, seed }, maxTokens, ...changes })

/** Returns what one host of the whole model answers. */
export const solo = (whole: ModelFile.ModelFile, asked: ReadonlyArray<GenerateRequest>) =>
  Effect.scoped(
    Effect.flatMap(
      EngineSupervisor.make({ path: whole.path, modelId: "m", profile: "exact", contextTokens, threads: 1 }),
      (engine) => Effect.forEach(asked, (one) => answer(engine, one))
    )
  )

/** Asks all at once. */
export const together = (engine: PipelineEngine.PipelineEngine, asked: ReadonlyArray<GenerateRequest>) =>
  Effect.forEach(asked, (one) => answer(engine, one), { concurrency: "unbounded" })

/** What a client sees of an answer; how its tokens are grouped, and cells that were there, are not part of it. */
export const seen = ({ events, last, text, tokens }: Answer) => {
  const end = last?._tag === "Finished" ? { ...last, usage: { ...last.usage, cachedTokens: 0 } } : last
  return { text, tokens, last: end, first: events[0] }
}
