/**
 * The engine host: a process of its own that holds one loaded model, so that a fault in native code ends it alone.
 * Commands come from the supervisor over descriptor 3 (`EngineProtocol.ts`), events go back the same way, one frame
 * per turn. Between turns the host looks for commands; without work it waits and uses no processor time.
 */
import { Data, Effect, Either, Mailbox, Random, Schema, type Scope } from "effect"
import * as BatchLoop from "./BatchLoop.ts"
import * as ChatTemplate from "./ChatTemplate.ts"
import { EngineError } from "./EngineError.ts"
import { HostCommand, type HostEvent } from "./EngineProtocol.ts"
import type { GenerateFailure, GenerateRequest, Prompt } from "./Generation.ts"
import * as HostTuning from "./HostTuning.ts"
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
  if (Either.isLeft(loaded)) {
    const { detail, reason } = loaded.left
    return send({ _tag: "Refused", reason, detail: detail.slice(0, detailCharactersMax) })
  }
  const llama = loaded.right
  const tuning = HostTuning.make(llama, tuningOptions(load), () => performance.now())
  const measured = load.calibration === undefined ? { calibration: tuning.calibration } : {}
  send({ _tag: "Tuned", tuning: tuning.tuning(), ...measured })
  send({ _tag: "Ready" })
  return yield* serve(llama, tuning, load, frames, send)
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

const tuningOptions = ({ calibration, contextTokens, prefillTokens, profile, threads }: Load) => ({
  profile,
  threadsMax: threads,
  prefillTokens,
  contextTokens,
  calibration
})

const openModel = (load: Load, send: (event: HostEvent) => void) =>
  Effect.acquireRelease(
    Effect.try({
      try: () => Llama.open({ ...load, rowsMax: BatchLoop.rowsMax(load), onProgress: progress(send) }),
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
  tuning: HostTuning.HostTuning,
  load: Load,
  frames: Mailbox.ReadonlyMailbox<unknown, ChannelClosed>,
  send: (event: HostEvent) => void
) {
  const loop = BatchLoop.make(llama, { ...load, prefillTokens: tuning.prefillTokens }, tuning.decode)
  let told = tuning.tuning()
  const template = yield* Effect.cached(compileTemplate(llama))
  /** Requests whose prompts are not tokenised yet, oldest first. */
  const incoming = new Map<number, GenerateRequest>()

  while (true) {
    const idle = loop.idle() && incoming.size === 0
    if (!idle) yield* yieldToChannel
    const batch = idle ? (yield* frames.takeAll)[0] : yield* frames.clear
    const cancelled: Array<number> = []
    for (const frame of batch) {
      const command = yield* decodeCommand(frame)
      if (command._tag === "Load") return yield* broken("a second Load")
      if (command._tag === "Generate") incoming.set(command.key, command.request)
      else {
        incoming.delete(command.key)
        loop.cancel(command.key)
        cancelled.push(command.key)
      }
    }
    const refused = yield* prepareSome(incoming, loop, (request) =>
      prepareRequest(request, llama, template, load.contextTokens)
    )
    send({ _tag: "Turn", cancelled, ...takeTurn(loop, refused) })
    const chosen = tuning.tuning()
    if (chosen !== told) send({ _tag: "Tuned", tuning: chosen })
    told = chosen
  }
})

/** Tokenises prompts, oldest first, as many as a turn has time for; returns the failures. */
const prepareSome = Effect.fnUntraced(function* (
  incoming: Map<number, GenerateRequest>,
  loop: BatchLoop.BatchLoop,
  prepare: (request: GenerateRequest) => Effect.Effect<BatchLoop.PreparedRequest, GenerateFailure>
) {
  const refused: Array<BatchLoop.KeyedEvent> = []
  let characters = 0
  for (const [key, request] of incoming) {
    if (characters >= preparedCharactersMax) break
    incoming.delete(key)
    characters += promptCharacters(request.prompt)
    const prepared = yield* Effect.either(prepare(request))
    if (Either.isRight(prepared)) loop.submit(key, prepared.right)
    else refused.push([key, { _tag: "Failed", failure: prepared.left }])
  }
  return refused
})

const takeTurn = (loop: BatchLoop.BatchLoop, refused: ReadonlyArray<BatchLoop.KeyedEvent>) => {
  if (loop.idle()) return { events: refused }
  const startedMs = performance.now()
  const events = [...refused, ...loop.turn()]
  return { events, decodeSeconds: (performance.now() - startedMs) / 1000 }
}

/** Prompt characters after which a turn tokenises no further prompt: llama.cpp takes some 10 ms for as many. */
const preparedCharactersMax = 64 * 1024

const promptCharacters = (prompt: Prompt): number => {
  switch (prompt._tag) {
    case "Chat":
      return prompt.messages.reduce((sum, { content }) => sum + content.length, 0)
    case "Text":
      return prompt.text.length
    case "Tokens":
      return prompt.tokens.length
  }
}

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
