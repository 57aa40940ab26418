/**
 * The engine host: a process of its own that holds one loaded model, so that a fault in native code ends it alone.
 * Commands come from the supervisor over descriptor 3 (`EngineProtocol.ts`), events go back the same way, one frame
 * per turn. Between turns the host looks for commands; without work it waits and uses no processor time.
 */
import * as PlainDecode from "@weft/mesh/PlainDecode"
import { Effect, Either, ParseResult, Random, type Scope } from "effect"
import * as BatchLoop from "./BatchLoop.ts"
import * as ChatTemplate from "./ChatTemplate.ts"
import { EngineError, fromOpening } from "./EngineError.ts"
import { HostCommand, type HostEvent } from "./EngineProtocol.ts"
import type { EngineTuning } from "./EngineTuning.ts"
import type { GenerateFailure, GenerateRequest, Prompt } from "./Generation.ts"
import { HostInbox, type HostWork } from "./HostInbox.ts"
import * as HostTuning from "./HostTuning.ts"
import * as FrameSocket from "./internal/FrameSocket.ts"
import * as Llama from "./internal/llama/Llama.ts"
import * as PromptTokens from "./PromptTokens.ts"

/** Descriptor of the channel in the host's process, the first after the standard ones. */
export const channelDescriptor = 3

/** Runs the host until the supervisor closes the channel; fails where a command cannot be read or llama.cpp fails. */
export const run: Effect.Effect<void, EngineError, Scope.Scope> = Effect.gen(function* () {
  const inbox = new HostInbox()
  const socket = yield* FrameSocket.open(channelDescriptor, {
    onFrame: (frame) => inbox.push(frame),
    onClose: () => inbox.close()
  })
  const send = (event: HostEvent): void => void socket.send(event)
  const first = yield* inbox.first
  if (first === undefined) return
  const load = yield* decodeCommand(first)
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
  const serving = new Serving(llama, tuning, load, send)
  return yield* inbox.serve(serving)
})

// internal

/** Most characters of a refusal: the bound of its schema. */
const detailCharactersMax = 1024

type Load = Extract<HostCommand, { readonly _tag: "Load" }>

const broken = (detail: string) => new EngineError({ reason: "protocol_broken", detail })

const decodeHostCommand = PlainDecode.decoder(HostCommand)

const decodeCommand = (frame: unknown) =>
  Either.mapLeft(decodeHostCommand(frame), (issue) => broken(ParseResult.TreeFormatter.formatIssueSync(issue)))

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
      try: () =>
        Llama.open({
          ...load,
          rowsMax: BatchLoop.rowsMax(load),
          onProgress: (fraction) => send({ _tag: "Progress", fraction })
        }),
      catch: fromOpening
    }),
    (llama) => Effect.sync(llama.close)
  )

/** The requests of a host, from their frames to their events. */
class Serving implements HostWork {
  readonly #loop: BatchLoop.BatchLoop
  readonly #template: Effect.Effect<ChatTemplate.ChatTemplate, GenerateFailure>
  /** Requests whose prompts are not tokenised yet, oldest first. */
  readonly #incoming = new Map<number, GenerateRequest>()
  #told: EngineTuning

  constructor(
    private readonly llama: Llama.Llama,
    private readonly tuning: HostTuning.HostTuning,
    private readonly load: Load,
    private readonly send: (event: HostEvent) => void
  ) {
    this.#loop = BatchLoop.make(llama, { ...load, prefillTokens: tuning.prefillTokens }, tuning.decode)
    this.#template = Effect.runSync(Effect.cached(compileTemplate(llama)))
    this.#told = tuning.tuning()
  }

  busy(): boolean {
    return this.#incoming.size > 0 || !this.#loop.idle()
  }

  /** Follows commands and computes one turn; returns what is wrong with a command. */
  step(frames: ReadonlyArray<unknown>): EngineError | undefined {
    const cancelled: Array<number> = []
    for (const frame of frames) {
      const command = decodeCommand(frame)
      if (Either.isLeft(command)) return command.left
      if (command.right._tag === "Load") return broken("a second Load")
      this.#follow(command.right, cancelled)
    }
    const refused = this.#incoming.size > 0 ? this.#prepareSome() : []
    if (this.#loop.idle()) {
      if (cancelled.length > 0 || refused.length > 0) this.send({ _tag: "Turn", cancelled, events: refused })
      return undefined
    }
    const startedMs = performance.now()
    const drawn = this.#loop.turn()
    const decodeSeconds = (performance.now() - startedMs) / 1000
    this.send({ _tag: "Turn", cancelled, events: refused.length > 0 ? [...refused, ...drawn] : drawn, decodeSeconds })
    const chosen = this.tuning.tuning()
    if (chosen !== this.#told) this.send({ _tag: "Tuned", tuning: chosen })
    this.#told = chosen
    return undefined
  }

  #follow(command: Exclude<HostCommand, Load>, cancelled: Array<number>): void {
    if (command._tag === "Generate") {
      this.#incoming.set(command.key, command.request)
      return
    }
    this.#incoming.delete(command.key)
    this.#loop.cancel(command.key)
    cancelled.push(command.key)
  }

  /** Tokenises prompts, oldest first, as many as a turn has time for; returns the failures. */
  #prepareSome(): ReadonlyArray<BatchLoop.KeyedEvent> {
    const refused: Array<BatchLoop.KeyedEvent> = []
    let characters = 0
    for (const [key, request] of this.#incoming) {
      if (characters >= preparedCharactersMax) break
      this.#incoming.delete(key)
      characters += promptCharacters(request.prompt)
      const preparing = prepareRequest(request, this.llama, this.#template, this.load.contextTokens)
      const prepared = Effect.runSync(Effect.either(preparing))
      if (Either.isRight(prepared)) this.#loop.submit(key, prepared.right)
      else refused.push([key, { _tag: "Failed", failure: prepared.left }])
    }
    return refused
  }
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
