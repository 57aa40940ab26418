/** Asks engines in tests: the bundled models, requests with everything off, and answers gathered to their end. */
import { fileURLToPath } from "node:url"
import type { AnswerListener, Engine } from "@weft/engine/Engine"
import type { EngineError } from "@weft/engine/EngineError"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import { type GenerateEvent, type GenerateRequest, greedy, isLast, type Prompt } from "@weft/engine/Generation"
import { Chunk, Effect, Exit, Mailbox, type Scope } from "effect"

const model = (name: string) => fileURLToPath(new URL(`../../packages/engine/models/${name}.gguf`, import.meta.url))

/** Paths of the bundled models. */
export const models = { small: model("tiny-small-f16"), nano: model("tiny-nano-f16") } as const

/** The token that ends an answer of the bundled models, `<|end|>`. */
export const endToken = 2

export { greedy }

/** Returns an engine of the small model under the name `m`. */
export const makeEngine = (
  options: Partial<EngineSupervisor.EngineOptions> = {}
): Effect.Effect<EngineSupervisor.WholeEngine, EngineError, Scope.Scope> =>
  EngineSupervisor.make({ path: models.small, modelId: "m", ...options })

/** Returns the prompt of a chat of one message. */
export const chat = (content: string): Prompt => ({ _tag: "Chat", messages: [{ role: "user", content }] })

/** Returns a greedy request to model `m`; a string is a chat of one message. */
export const ask = (prompt: string | Prompt, options: Partial<GenerateRequest> = {}): GenerateRequest => ({
  requestId: "test",
  model: "m",
  prompt: typeof prompt === "string" ? chat(prompt) : prompt,
  sampling: greedy,
  stop: [],
  ...options
})

/** Returns a request whose answer does not end by itself: it runs to `maxTokens` or the end of the context. */
export const askEndless = (options: Partial<GenerateRequest> = {}): GenerateRequest =>
  ask("Tell me a story about a fox.", { sampling: { ...greedy, logitBias: [[endToken, -100]] }, ...options })

/** Represents an answer from its start to its end. */
export interface Answer {
  readonly text: string
  readonly tokens: ReadonlyArray<number>
  readonly events: ReadonlyArray<GenerateEvent>
  readonly last: GenerateEvent | undefined
}

/** Returns the answer that these events are. */
export const answerOf = (events: ReadonlyArray<GenerateEvent>): Answer => {
  const deltas = events.filter((event) => event._tag === "Delta")
  const text = deltas.map((delta) => delta.text).join("")
  return { text, tokens: deltas.flatMap((delta) => delta.tokens), events, last: events.at(-1) }
}

/** Gathers what comes until the end. */
export const gather = (mailbox: Mailbox.ReadonlyMailbox<GenerateEvent>): Effect.Effect<Answer> =>
  Effect.gen(function* () {
    const events: Array<GenerateEvent> = []
    while (true) {
      const [chunk, done] = yield* mailbox.takeAll
      events.push(...Chunk.toReadonlyArray(chunk))
      if (done) return answerOf(events)
    }
  })

/** Returns a listener that keeps the events in a mailbox, which ends behind the last. */
export const into =
  (mailbox: Mailbox.Mailbox<GenerateEvent>): AnswerListener =>
  (events) => {
    mailbox.unsafeOfferAll(events)
    if (events.some(isLast)) mailbox.unsafeDone(Exit.void)
  }

/** Starts an answer whose events wait in a mailbox; closing the scope cancels it. */
export const generate = (
  engine: Engine,
  request: GenerateRequest
): Effect.Effect<Mailbox.ReadonlyMailbox<GenerateEvent>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const mailbox = yield* Mailbox.make<GenerateEvent>()
    yield* Effect.acquireRelease(
      Effect.sync(() => engine.generate(request, into(mailbox))),
      (cancel) => Effect.sync(cancel)
    )
    return mailbox
  })

/** Returns the whole answer of `engine` to `request`. */
export const answer = (engine: Engine, request: GenerateRequest): Effect.Effect<Answer> =>
  Effect.scoped(Effect.flatMap(generate(engine, request), gather))
