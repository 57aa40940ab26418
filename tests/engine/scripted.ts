/** An engine without a model: it says what the test hands it, and shows whether its scope is open. */
import type { Engine } from "@weft/engine/Engine"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { Effect, Mailbox } from "effect"
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

/** Represents an engine that speaks by script. */
export interface Scripted {
  readonly engine: Engine
  /** Answers whose scope is open now. */
  readonly open: () => number
  /** Answers that were begun. */
  readonly begun: () => number
  /** What it was asked, oldest first. */
  readonly requests: ReadonlyArray<GenerateRequest>
}

/** Returns an engine whose every answer is what `say` offers to its mailbox, which then stays as `say` left it. */
export const scripted = (
  say: (mailbox: Mailbox.Mailbox<GenerateEvent>, request: GenerateRequest) => Effect.Effect<unknown>,
  waitingMax = Number.POSITIVE_INFINITY
): Scripted => {
  let open = 0
  const requests: Array<GenerateRequest> = []
  const [model] = peerInfo(peerId(1), ["tiny"]).models
  if (model === undefined) throw new Error("the description above has one model")
  const engine: Engine = {
    model,
    generate: Effect.fnUntraced(function* (request) {
      const mailbox = yield* Mailbox.make<GenerateEvent>({ capacity: waitingMax })
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          open++
          requests.push(request)
        }),
        () => Effect.sync(() => open--)
      )
      yield* Effect.forkScoped(say(mailbox, request))
      return mailbox
    }),
    load: Effect.sync(() => ({ state: "ready" as const, active: open, queued: 0, restarts: 0 }))
  }
  return { engine, open: () => open, begun: () => requests.length, requests }
}

/** Says these events and ends. */
export const saying =
  (events: ReadonlyArray<GenerateEvent>) =>
  (mailbox: Mailbox.Mailbox<GenerateEvent>): Effect.Effect<unknown> =>
    Effect.zipRight(mailbox.offerAll(events), mailbox.end)
