/** The HTTP door on loopback with a model that answers by rule: what the tests of the entry share. */
import { FileSystem } from "@effect/platform"
import { BunContext } from "@effect/platform-bun"
import type { GenerateEvent, GenerateRequest } from "@weft/engine/Generation"
import { ApiKeyStore } from "@weft/entry/ApiKeyStore"
import * as Database from "@weft/entry/Database"
import { EntryConfig, type EntryConfigShape } from "@weft/entry/EntryConfig"
import { EntryDescription } from "@weft/entry/EntryDescription"
import { Elections } from "@weft/entry/election/Elections"
import { Fallback } from "@weft/entry/fallback/Fallback"
import { FallbackLimits, type FallbackLimitsShape } from "@weft/entry/fallback/FallbackLimits"
import * as Http from "@weft/entry/Http"
import { HttpAddress } from "@weft/entry/http/HttpAddress"
import { HttpLimits, type HttpLimitsShape } from "@weft/entry/http/HttpLimits"
import { type AnswerListener, type Asker, Inference, NoAnswer, type ServedModel } from "@weft/entry/Inference"
import { Performance } from "@weft/entry/performance/Performance"
import { Share } from "@weft/entry/share/Share"
import * as Gate from "@weft/entry/sla/Gate"
import { Sla } from "@weft/entry/sla/Sla"
import { tierOf } from "@weft/entry/sla/Tier"
import * as VerdictHeaders from "@weft/entry/sla/VerdictHeaders"
import * as SplitState from "@weft/entry/split/SplitState"
import { Splits } from "@weft/entry/split/Splits"
import { Status } from "@weft/entry/status/Status"
import type { StatusDocument } from "@weft/entry/status/StatusDocument"
import * as StatusFeed from "@weft/entry/status/StatusFeed"
import { statusOf } from "@weft/entry/status/StatusModel"
import * as ElectionState from "@weft/mesh/election/ElectionState"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import { fromPublicKey } from "@weft/mesh/PeerId"
import { Context, Deferred, Duration, Effect, Exit, FiberId, Layer, Queue, type Scope } from "effect"

/** The models of the scripted inference; the first id is as awkward as ids get. */
export const models: ReadonlyArray<ServedModel> = ["org/tiny:Q4_K_M", "plain"].map((id) => ({
  description: {
    id,
    sha256: "ab".repeat(32),
    sizeBytes: 1000,
    architecture: "llama",
    quantization: "F16",
    contextTokens: 512,
    slots: 4
  },
  sinceMs: 1_700_000_000_123,
  peers: 1,
  stages: () => undefined
}))

/** What the door says of itself. */
export const description: typeof EntryDescription.Service = {
  peerId: fromPublicKey(new Uint8Array(32).fill(1)),
  meshAddresses: ["quic://127.0.0.1:8443"],
  protocolVersion: 1,
  version: "0.0.0"
}

const nothing = { requests: 0, mesh: 0, fallback: 0, refused: 0, mesh_share_pct: null }

/** What the door says of the mesh where the test does not say: that nobody is there. */
export const status: StatusDocument = statusOf({
  nowMs: 1_700_000_005_000,
  entry: { id: description.peerId, version: description.version, startedAtMs: 1_700_000_000_000 },
  directory: PeerDirectory.empty,
  elections: ElectionState.empty,
  trust: new Map(),
  reaches: new Map(),
  performance: { of: () => undefined, ofModel: () => undefined },
  tierOf: () => "experimental",
  milestones: new Map(),
  share: { day: nothing, week: nothing },
  history: { fromMs: 1_699_912_800_000, hours: 24, models: [] }
})

const statusLayer = (told: Effect.Effect<StatusDocument>): Layer.Layer<Status> =>
  Layer.scoped(
    Status,
    Effect.gen(function* () {
      const both = Effect.map(told, (document) => ({ document, json: JSON.stringify(document) }))
      const history = (hours: number) => Effect.succeed({ ...status.history, hours })
      return { told: both, history, feed: yield* StatusFeed.make(both) }
    })
  )

/** Represents one answer the script gives: its events can be sent one by one, and its cancellation awaited. */
export interface Turn {
  readonly request: GenerateRequest
  readonly asker: Asker
  readonly send: (...events: ReadonlyArray<GenerateEvent>) => Effect.Effect<void>
  /** Says that another peer had a part in the answer. */
  readonly move: Effect.Effect<void>
  /** Ends the answer: a lost peer where its last event was not sent. */
  readonly end: Effect.Effect<void>
  /** Completes when the door cancelled the answer, or its last event was told. */
  readonly closed: Effect.Effect<void>
}

/** Represents the running door. */
export interface Door {
  readonly url: string
  readonly port: number
  /** Takes the next answer that was asked for, when answers are by hand. */
  readonly turn: Effect.Effect<Turn>
  readonly keys: Context.Tag.Service<ApiKeyStore>
  readonly share: Context.Tag.Service<Share>
  readonly performance: Context.Tag.Service<Performance>
}

/** Represents how a door is set up. */
export interface DoorOptions {
  readonly config?: Partial<EntryConfigShape>
  readonly limits?: Partial<HttpLimitsShape>
  /** `rule`: the model repeats what it was told; `hand`: the test sends the events. */
  readonly answers?: "rule" | "hand"
  /** What peers showed, by model; where absent, one peer of each that is served, not measured. */
  readonly measured?: (model: string) => ReadonlyArray<Gate.Measured | undefined>
  readonly fallbackLimits?: Partial<FallbackLimitsShape>
  /** What is split; nothing where absent. */
  readonly splits?: SplitState.SplitState
  /** Which peers serve which models; nobody is elected where absent. */
  readonly elections?: ElectionState.ElectionState
  /** How the mesh stands; `status` where absent. */
  readonly status?: Effect.Effect<StatusDocument>
}

/** Usage that the rule reports: one token per word. */
const words = (text: string): ReadonlyArray<string> => text.match(/\S+\s*/g) ?? []

const promptText = ({ prompt }: GenerateRequest): string =>
  prompt._tag === "Chat"
    ? prompt.messages.map(({ role, content }) => `${role}:${content}`).join("|")
    : prompt._tag === "Text"
      ? prompt.text
      : prompt.tokens.join(" ")

/** The rule: says its prompt back, a word a token, up to `maxTokens` or a stop string; `FAIL code` fails. */
export const ruleEvents = (request: GenerateRequest): ReadonlyArray<GenerateEvent> => {
  const prompt = promptText(request)
  const failure = prompt.match(/FAIL (\w+)/)?.[1]
  const promptTokens = words(prompt).length
  const usage = (completionTokens: number) => ({ promptTokens, completionTokens, cachedTokens: 1 })
  if (failure !== undefined) {
    const code =
      failure === "overloaded" || failure === "internal" || failure === "context_length_exceeded"
        ? failure
        : "engine_lost"
    return [{ _tag: "Failed", failure: { code, message: `it is ${failure}\u0007` } }]
  }
  const stopAt = Math.min(...request.stop.map((stop) => prompt.indexOf(stop)).filter((at) => at >= 0), prompt.length)
  const said = words(prompt.slice(0, stopAt))
  const kept = said.slice(0, request.maxTokens ?? 512)
  return [
    { _tag: "Started", promptTokens, seed: request.sampling.seed ?? 7 },
    ...kept.map((text, index) => ({ _tag: "Delta", text, tokens: [index] }) as const),
    {
      _tag: "Finished",
      finishReason: kept.length < said.length ? "length" : "stop",
      usage: usage(kept.length)
    }
  ]
}

const refusalOf = (model: string): NoAnswer | undefined =>
  model === "busy"
    ? new NoAnswer({ reason: "Overloaded", model, retryAfterSeconds: 3 })
    : model === "rounded"
      ? new NoAnswer({ reason: "NotExact", model })
      : model === "gone"
        ? new NoAnswer({ reason: "NoPeer", model })
        : models.some(({ description }) => description.id === model)
          ? undefined
          : new NoAnswer({ reason: "ModelNotFound", model })

/** The peer that gives every answer. */
export const answering = fromPublicKey(new Uint8Array(32).fill(2))

/** Makes the turn of a request; what it sends is told as the contract has it, and nothing after its end. */
const makeTurn = (request: GenerateRequest, asker: Asker, listener: AnswerListener) => {
  const closed = Deferred.unsafeMake<void>(FiberId.none)
  let hasBegun = false
  let isOver = false
  const cancel = (): void => {
    isOver = true
    Deferred.unsafeDone(closed, Exit.void)
  }
  const send: Turn["send"] = (...events) =>
    Effect.sync(() => {
      if (isOver) return
      if (!hasBegun) listener.begun(answering, "mesh:solo")
      hasBegun = true
      listener.events(events)
      const last = events.at(-1)?._tag
      if (last === "Finished" || last === "Failed") cancel()
    })
  const lost = send({ _tag: "Failed", failure: { code: "engine_lost", message: "" } })
  const move = Effect.sync(() => listener.moved())
  return { cancel, turn: { request, asker, send, move, end: lost, closed: Deferred.await(closed) } satisfies Turn }
}

const inference = (answers: "rule" | "hand", turns: Queue.Queue<Turn>): Layer.Layer<Inference> =>
  Layer.succeed(Inference, {
    models: () => models,
    find: (model) => models.find(({ description }) => description.id === model),
    generate: (request, asker, listener) => {
      if (request.model === "broken") throw new Error("the script is broken")
      const refusal = refusalOf(request.model)
      if (refusal !== undefined) {
        listener.refused(refusal)
        return () => undefined
      }
      const { cancel, turn } = makeTurn(request, asker, listener)
      if (answers === "rule") Effect.runSync(turn.send(...ruleEvents(request)))
      else Queue.unsafeOffer(turns, turn)
      return cancel
    }
  })

/** The gate over figures that the test gives. */
const sla = (measured: NonNullable<DoorOptions["measured"]>) =>
  Layer.effect(
    Sla,
    Effect.map(EntryConfig, ({ tiers }) => {
      const judge = (model: string, figures: ReadonlyArray<Gate.Measured | undefined>) => {
        const verdict = Gate.verdict(tierOf(tiers, model), figures)
        return { ...verdict, headers: VerdictHeaders.ofVerdict(verdict) }
      }
      return { verdict: (model: string) => judge(model, measured(model)), withoutPeer: (model) => judge(model, []) }
    })
  )

const elections = (state: ElectionState.ElectionState) =>
  Layer.succeed(Elections, { ask: () => Effect.succeed(null), unsafeSnapshot: () => state })

const unmeasured = (model: string) => (refusalOf(model)?.reason === "ModelNotFound" ? [] : [undefined])

/** Opens a door for the time of the scope. */
export const open = (options: DoorOptions = {}): Effect.Effect<Door, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const turns = yield* Queue.unbounded<Turn>()
    const limits = Context.get(Context.empty(), HttpLimits)
    const database = Layer.provide(
      Database.layer,
      EntryConfig.layer({ databasePath: options.config?.databasePath ?? `${yield* folder}/entry.sqlite` })
    )
    const store = Layer.provide(Layer.merge(ApiKeyStore.layer, Share.layer), database)
    const fallbackLimits = Context.get(Context.empty(), FallbackLimits)
    const context = yield* Http.layer.pipe(
      Layer.provideMerge(store),
      Layer.provide([sla(options.measured ?? unmeasured), Fallback.layer]),
      Layer.provide(Layer.succeed(FallbackLimits, { ...fallbackLimits, ...options.fallbackLimits })),
      Layer.provide(inference(options.answers ?? "rule", turns)),
      Layer.provideMerge(Performance.layer),
      Layer.provide(Layer.succeed(Splits, { unsafeSnapshot: () => options.splits ?? SplitState.empty })),
      Layer.provide(elections(options.elections ?? ElectionState.empty)),
      Layer.provide(statusLayer(options.status ?? Effect.succeed(status))),
      Layer.provide(EntryConfig.layer({ httpHost: "127.0.0.1", httpPort: 0, ...options.config })),
      Layer.provide(Layer.succeed(EntryDescription, description)),
      Layer.provide(Layer.succeed(HttpLimits, { ...limits, drain: Duration.zero, ...options.limits })),
      Layer.provide(BunContext.layer),
      Layer.build
    )
    const { port, url } = Context.get(context, HttpAddress)
    return {
      url,
      port,
      turn: Queue.take(turns),
      keys: Context.get(context, ApiKeyStore),
      share: Context.get(context, Share),
      performance: Context.get(context, Performance)
    }
  })

/** A folder that is gone with the scope. */
export const folder: Effect.Effect<string, unknown, Scope.Scope> = Effect.flatMap(FileSystem.FileSystem, (files) =>
  files.makeTempDirectoryScoped()
).pipe(Effect.provide(BunContext.layer))

/** Waits until the door, which is in this process, has written its books: it does so behind the response. */
export const booked = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** Sends a request with `fetch` and returns the response with its body read, once the door has written its books. */
export const send = (url: string, init: RequestInit = {}) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: text.startsWith("{") ? JSON.parse(text) : undefined
    }
  }).pipe(Effect.zipLeft(booked))

/** Sends a JSON body by POST. */
export const post = (url: string, body: unknown, headers: Record<string, string> = {}) =>
  send(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body)
  })

/** A chat that every field may be added to. */
export const hello = { model: "plain", messages: [{ role: "user", content: "one two three" }] }
