/**
 * One answer while it is made: the tokens of its sequence, what is drawn next, and the text that comes of it. Owned
 * by the batch loop; tokens flow in one by one, events out.
 */
import type { GenerateEvent, GenerateRequest } from "./Generation.ts"
import type { Llama, Sampler } from "./internal/llama/Llama.ts"
import * as StopMatcher from "./StopMatcher.ts"
import * as Utf8Assembler from "./Utf8Assembler.ts"

/** Represents a running answer. */
export interface EngineAnswer {
  readonly slot: number
  readonly promptTokens: number
  /** Prompt and answer so far. */
  readonly tokens: ReadonlyArray<number>
  /** Tokens whose cells are computed; the batch loop raises it. */
  computed: number
  readonly sampler: Sampler
  /** Adds the token that was drawn; returns its events, of which the last is `Finished` where the answer ends. */
  readonly add: (token: number) => ReadonlyArray<GenerateEvent>
}

/** Returns the answer to `request`, whose prompt is `prompt`; its sampler stays open until the batch loop closes it. */
export const make = (
  llama: Llama,
  slot: number,
  request: GenerateRequest,
  prompt: ReadonlyArray<number>,
  seed: number,
  contextTokens: number
): EngineAnswer => {
  const tokens = [...prompt]
  const promptTokens = prompt.length
  const lengthMax = Math.min(request.maxTokens ?? contextTokens, contextTokens - promptTokens)
  const characters = Utf8Assembler.make()
  const stops = StopMatcher.make(request.stop)

  const finish = (text: string, drawn: ReadonlyArray<number>, finishReason: "stop" | "length") => {
    const usage = { promptTokens, completionTokens: tokens.length - promptTokens, cachedTokens: 0 }
    const events: Array<GenerateEvent> = [{ _tag: "Finished", finishReason, usage }]
    if (text !== "" || drawn.length > 0) events.unshift({ _tag: "Delta", text, tokens: drawn })
    return events
  }

  /** Lets out what was held back; a stop string can still lie in it. */
  const finishWithRest = (text: string, drawn: ReadonlyArray<number>, finishReason: "stop" | "length") => {
    const rest = stops.push(characters.flush())
    const held = stops.flush()
    const stopped = rest.stopped || held.stopped
    return finish(text + rest.emit + held.emit, drawn, stopped ? "stop" : finishReason)
  }

  const add = (token: number): ReadonlyArray<GenerateEvent> => {
    if (llama.endsAnswer(token)) return finishWithRest("", [], "stop")
    tokens.push(token)
    const step = stops.push(characters.push(llama.piece(token)))
    if (step.stopped) return finish(step.emit, [token], "stop")
    if (tokens.length - promptTokens >= lengthMax) return finishWithRest(step.emit, [token], "length")
    return [{ _tag: "Delta", text: step.emit, tokens: [token] }]
  }

  const sampler = llama.openSampler(request.sampling, seed, prompt)
  return { slot, promptTokens, tokens, computed: 0, sampler, add }
}
