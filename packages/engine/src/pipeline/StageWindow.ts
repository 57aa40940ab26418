/** What a window must keep to before a stage computes it, as a pure decision: windows come from other peers. */
import * as BatchPlan from "../BatchPlan.ts"
import * as Activations from "./Activations.ts"
import type { JobTerms, Window } from "./StageFrame.ts"

/** Most rows of a window of the prompt: the chunk that all peers compute in one decode of its own. */
export const promptRowsMax = BatchPlan.canonicalTokens
/** Most rows of one decode of answers, and of each window in it: from 64 on llama.cpp computes attention in tiles. */
export const answerRowsMax = 63

/** Most rows of one decode: those of a prompt's chunk, as answers have fewer. */
export const rowsMax = promptRowsMax

/** Represents what a stage knows of its model. */
export interface StageBounds {
  /** The rows are tokens without hidden states. */
  readonly isFirst: boolean
  /** Values of a hidden state. */
  readonly width: number
  /** Where the stage knows; tokens are otherwise only passed on. */
  readonly vocabularyTokens: number | undefined
  /** Cells of a slot. */
  readonly contextTokens: number
}

/** Tells whether a window is part of the prompt, and so is computed alone. */
export const isPrompt = ({ position }: Window, { promptTokens }: JobTerms): boolean => position < promptTokens

/** Returns why a stage takes no job on these terms; none where it does. */
export const faultOfTerms = (terms: JobTerms, bounds: StageBounds): string | undefined => {
  const { contextTokens, promptTokens, sampling } = terms
  if (contextTokens > bounds.contextTokens)
    return `contextTokens is ${contextTokens}, a slot here has ${bounds.contextTokens}`
  if (promptTokens >= contextTokens) return `promptTokens is ${promptTokens}, with ${contextTokens} in all`
  const stranger = sampling.logitBias.find(([token]) => !isKnown(token, bounds))
  return stranger === undefined ? undefined : `sampling.logitBias names token ${stranger[0]}`
}

/** Returns what is wrong with a window of a job on these terms, by its field; none where all is right. */
export const faultOf = (window: Window, terms: JobTerms, bounds: StageBounds): string | undefined => {
  const { drawn, hidden, position, tokens } = window
  const rows = tokens.length
  const end = position + rows
  // The last token that a context holds is drawn and never computed.
  if (end >= terms.contextTokens) return `position: rows up to ${end} of ${terms.contextTokens}`
  if (isPrompt(window, terms)) {
    if (rows > promptRowsMax) return `rows: ${rows} of the prompt, at most ${promptRowsMax}`
    if (end > terms.promptTokens) return `rows: the prompt ends within them`
  } else if (rows > answerRowsMax) return `rows: ${rows} of the answer, at most ${answerRowsMax}`
  if (drawn > 0 && end - drawn < terms.promptTokens - 1) return "drawn: a token of the prompt would be drawn"
  const stranger = tokens.find((token) => !isKnown(token, bounds))
  if (stranger !== undefined) return `tokens: there is no token ${stranger}`
  if (bounds.isFirst) return hidden === undefined ? undefined : "element: the first stage takes tokens alone"
  if (hidden === undefined) return "element: the hidden states are missing"
  if (hidden.length !== rows * bounds.width) return `width: ${hidden.length / rows}, not ${bounds.width}`
  return Activations.isFinite(hidden) ? undefined : "elements: a hidden value is not finite"
}

// internal

const isKnown = (token: number, { vocabularyTokens }: StageBounds): boolean =>
  token >= 0 && (vocabularyTokens === undefined || token < vocabularyTokens)
