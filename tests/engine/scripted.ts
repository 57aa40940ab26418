/** An engine without a model: it says what the test hands it, and shows which answers are open. */
import type { Engine } from "@weft/engine/Engine"
import { type GenerateEvent, type GenerateRequest, isLast } from "@weft/engine/Generation"
import { Effect, FiberId, FiberSet, type Scope } from "effect"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { greedy } from "./asking.ts"

/** A request with these bounds. */
export const request = (changes: Partial<GenerateRequest> = {}): GenerateRequest => ({
  requestId: "test",
  model: "tiny",
  prompt: { _tag: "Text", text: "Once" },
  sampling: greedy,
  stop: [],
  ...changes
})

/** Events as they stand in scripts. */
export const started: GenerateEvent = { _tag: "Started", promptTokens: 1, seed: 7 }
/** Returns text of one token. */
export const delta = (text: string, token = 1): GenerateEvent => ({ _tag: "Delta", text, tokens: [token] })
/** Returns the end of an answer of so many tokens. */
export const finished = (completionTokens: number): GenerateEvent => ({
  _tag: "Finished",
  finishReason: "stop",
  usage: { promptTokens: 1, completionTokens, cachedTokens: 0 }
})
/** Returns a failure with this code. */
export const failed = (code: Extract<GenerateEvent, { _tag: "Failed" }>["failure"]["code"]): GenerateEvent => ({
  _tag: "Failed",
  failure: { code, message: "as the script says" }
})

/** Says one thing after another to whoever asked. */
export interface Teller {
  readonly offer: (event: GenerateEvent) => Effect.Effect<void>
}

/** Represents an engine that speaks by script. */
export interface Scripted {
  /** The engine, whose scripts run on the clock of whoever takes it and end with that scope. */
  readonly engine: Effect.Effect<Engine, never, Scope.Scope>
  /** Answers that were neither ended nor cancelled. */
  readonly open: () => number
  /** Answers that were begun. */
  readonly begun: () => number
  /** What it was asked, oldest first. */
  readonly requests: ReadonlyArray<GenerateRequest>
}

/** Returns an engine whose every answer is what `say` says. */
export const scripted = (say: (teller: Teller, request: GenerateRequest) => Effect.Effect<unknown>): Scripted => {
  const open = new Set<Teller>()
  const requests: Array<GenerateRequest> = []
  const [model] = peerInfo(peerId(1), ["tiny"]).models
  if (model === undefined) throw new Error("the description above has one model")
  const engine = Effect.map(
    FiberSet.makeRuntime<never>(),
    (run): Engine => ({
      model,
      generate: (request, listen) => {
        const teller: Teller = {
          offer: (event) =>
            Effect.sync(() => {
              if (!open.has(teller)) return
              if (isLast(event)) open.delete(teller)
              listen([event])
            })
        }
        open.add(teller)
        requests.push(request)
        const fiber = run(say(teller, request))
        return () => {
          open.delete(teller)
          fiber.unsafeInterruptAsFork(FiberId.none)
        }
      },
      load: Effect.sync(() => ({ state: "ready" as const, active: open.size, queued: 0, restarts: 0 }))
    })
  )
  return { engine, open: () => open.size, begun: () => requests.length, requests }
}

/** Says these events. */
export const saying =
  (events: ReadonlyArray<GenerateEvent>) =>
  ({ offer }: Teller): Effect.Effect<unknown> =>
    Effect.forEach(events, offer, { discard: true })
