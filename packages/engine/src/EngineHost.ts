/**
 * The engine host: a process of its own that holds one loaded model, so that a fault in native code ends it alone. Commands
 * come from the supervisor over descriptor 3 (`EngineProtocol.ts`), events go back the same way, one frame per turn. Between
 * turns the host looks for commands; without work it waits and uses no processor time.
 */
import { Chunk, Data, Effect, Either, Mailbox, Random, Schema, type Scope } from "effect"
import * as BatchLoop from "./BatchLoop.ts"
import * as ChatTemplate from "./ChatTemplate.ts"
import { EngineError } from "./EngineError.ts"
import { HostCommand, type HostEvent } from "./EngineProtocol.ts"
import type { GenerateFailure, GenerateRequest } from "./Generation.ts"
import * as FrameSocket from "./internal/FrameSocket.ts"
import * as Llama from "./internal/llama/Llama.ts"
import * as PromptTokens from "./PromptTokens.ts"

/** Descriptor of the channel in the host's process, the first after the standard ones. */
export const channelDescriptor = 3

/** Represents that the supervisor closed the channel: the host has nobody left to answer. */
class ChannelClosed extends Data.TaggedError("ChannelClosed")<{ readonly why: string }> {}

/** Runs the host until the supervisor closes the channel; fails where a command cannot be read or llama.cpp fails. */
export const run: Effect.Effect<void, EngineError, Scope.Scope> = Effect.gen(function* () {
  // Bounded by the supervisor: at most one Generate and one Cancel for each of slots + queuedMax open requests.
  const frames = yield* Mailbox.make<unknown, ChannelClosed>()
  const socket = yield* FrameSocket.open(channelDescriptor, {
    onFrame: (frame) => void frames.unsafeOffer(frame),
    onClose: (why) => void Effect.runSync(frames.fail(new ChannelClosed({ why })))
  })
  const send = (event: HostEvent): void => void socket.send(event)
  const load = yield* Effect.flatMap(frames.take, decodeCommand)
  if (load._tag !== "Load") return yield* broken(`the first command is ${load._tag}`)
  const loaded = yield* Effect.either(openModel(load, send))
  if (Either.isLeft(loaded)) return send({ _tag: "Refused", detail: loaded.left.message.slice(0, detailCharactersMax) })
  send({ _tag: "Ready" })
  return yield* serve(loaded.right, load, frames, send)
}).pipe(
  Effect.catchTag("NoSuchElementException", () => Effect.void),
  Effect.catchTag("ChannelClosed", () => Effect.void)
)

// internal

/** Most characters of a refusal: the bound of its schema. */
const detailCharactersMax = 1024

type Load = Extract<HostCommand, { readonly _tag: "Load" }>

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeCommand = (frame: unknown) =>
  Effect.mapError(Schema.decodeUnknown(HostCommand)(frame), (error) => broken(error.message))

const openModel = (load: Load, send: (event: HostEvent) => void) =>
  Effect.acquireRelease(
    Effect.try({
      try: () => Llama.open({ ...load, rowsMax: load.slots + load.prefillTokens, onProgress: progress(send) }),
      catch: (error) =>
        error instanceof EngineError
          ? error
          : new EngineError({ reason: "library_mismatch", detail: `the shim cannot be compiled: ${error}` })
    }),
    (llama) => Effect.sync(llama.close)
  )

/** Reports each whole percent once: llama.cpp calls for every tensor. */
const progress = (send: (event: HostEvent) => void) => {
  let percent = -1
  return (fraction: number): void => {
    const next = Math.floor(fraction * 100)
    if (next <= percent) return
    percent = next
    send({ _tag: "Progress", fraction: Math.min(1, Math.max(0, fraction)) })
  }
}

/** Lets the process look at its descriptors before it goes on. */
const yieldToChannel = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

const serve = Effect.fnUntraced(function* (
  llama: Llama.Llama,
  load: Load,
  frames: Mailbox.ReadonlyMailbox<unknown, ChannelClosed>,
  send: (event: HostEvent) => void
) {
  const loop = BatchLoop.make(llama, load)
  const template = yield* Effect.cached(compileTemplate(llama))
  const prepare = (request: GenerateRequest) => prepareRequest(request, llama, template, load.contextTokens)

  while (true) {
    if (!loop.idle()) yield* yieldToChannel
    const [batch] = loop.idle() ? yield* frames.takeAll : [yield* frames.clear]
    if (loop.idle() && Chunk.isEmpty(batch)) return
    const events: Array<BatchLoop.KeyedEvent> = []
    const cancelled: Array<number> = []
    for (const frame of batch) {
      const command = yield* decodeCommand(frame)
      if (command._tag === "Load") return yield* broken("a second Load")
      if (command._tag === "Cancel") {
        loop.cancel(command.key)
        cancelled.push(command.key)
        continue
      }
      const prepared = yield* Effect.either(prepare(command.request))
      if (Either.isRight(prepared)) loop.submit(command.key, prepared.right)
      else events.push([command.key, { _tag: "Failed", failure: prepared.left }])
    }
    const computes = !loop.idle()
    const startedMs = performance.now()
    for (const event of loop.turn()) events.push(event)
    const decodeSeconds = computes ? { decodeSeconds: (performance.now() - startedMs) / 1000 } : {}
    send({ _tag: "Turn", ...decodeSeconds, events, cancelled })
  }
})

const compileTemplate = (llama: Llama.Llama) =>
  ChatTemplate.compile(llama.chatTemplate, {
    bosToken: llama.beginText,
    eosToken: llama.endText,
    controlTokens: llama.controlTokens.map(({ text }) => text)
  }).pipe(
    Effect.mapError(
      (error): GenerateFailure => ({
        code: "invalid_request",
        message: error.message.slice(0, 1024),
        param: "messages"
      })
    )
  )

const prepareRequest = Effect.fnUntraced(function* (
  request: GenerateRequest,
  llama: Llama.Llama,
  template: Effect.Effect<ChatTemplate.ChatTemplate, GenerateFailure>,
  contextTokens: number
) {
  const stranger = request.sampling.logitBias.find(([token]) => token < 0 || token >= llama.vocabularyTokens)
  if (stranger !== undefined) {
    const message = `logit_bias names token ${stranger[0]}; this model has ${llama.vocabularyTokens} tokens.`
    return yield* Effect.fail<GenerateFailure>({ code: "invalid_request", message, param: "logit_bias" })
  }
  const prompt = yield* PromptTokens.make(request.prompt, llama, template, contextTokens)
  const seed = request.sampling.seed ?? (yield* Random.nextIntBetween(0, 0xffff_ffff))
  return { request, prompt, seed } satisfies BatchLoop.PreparedRequest
})
