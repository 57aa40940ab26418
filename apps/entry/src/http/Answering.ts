/**
 * One request for an answer, from its bytes to the end of its answer; chat and text completions differ in how they are
 * read and written alone. Order: key, body, fields, model, quota, peer. Plain callbacks from the socket to the mesh and
 * back: what a request costs here is most of what a small answer costs the entry.
 */
import { type GenerateEvent, Profile } from "@weft/engine/Generation"
import type { Labels } from "@weft/mesh/Labels"
import { Duration, Either, Schema } from "effect"
import type { Caller } from "../Admission.ts"
import type { AnswerListener, NoAnswer } from "../Inference.ts"
import { readBody } from "../internal/ReadBody.ts"
import {
  type ApiError,
  answerTimeout,
  bodyTooLarge,
  fromNoAnswer,
  internalError,
  invalidRequest,
  requestTimeout,
  shuttingDown,
  toBody,
  toHeaders
} from "../OpenAiError.ts"
import type { Mode } from "../performance/PerformanceState.ts"
import { Account } from "./Account.ts"
import type { Attended } from "./AnswerClock.ts"
import type { AnswerDoor } from "./AnswerDoor.ts"
import type { AnswerFormat } from "./AnswerFormat.ts"
import { AnswerStream } from "./AnswerStream.ts"
import { AnswerWhole } from "./AnswerWhole.ts"
import * as Asked from "./Asked.ts"
import * as AskedLabels from "./AskedLabels.ts"
import * as CurrentRequest from "./CurrentRequest.ts"
import type { Ending, Reply, Respond } from "./Reply.ts"
import * as RequestBody from "./RequestBody.ts"
import * as ResponseHeaders from "./ResponseHeaders.ts"

/** Represents an address that answers: how its bodies are read and its answers written. */
export interface AnswerAddress {
  readonly path: `/${string}`
  readonly fromBody: (body: RequestBody.JsonObject) => Either.Either<Asked.Asked, ApiError>
  readonly format: AnswerFormat
}

/** Answers a request that came to `address`; a defect is a 500 too. */
export const answer = (door: AnswerDoor, address: AnswerAddress, request: Request): Promise<Response> =>
  new Promise((resolve) => new Answering(door, address, request, resolve).begin(request))

// internal

class Answering implements AnswerListener, Attended, Respond {
  readonly #door: AnswerDoor
  readonly #address: AnswerAddress
  readonly #info: CurrentRequest.RequestInfo
  readonly #resolve: (response: Response) => void
  #isOver = false
  /** Ticks since the request came, then since its answer was asked for. */
  #ticks = 0
  /** There while the body comes. */
  #dropBody: (() => void) | undefined
  #account: Account | undefined
  /** The last events, which the account does not know yet. */
  #unnoted: ReadonlyArray<GenerateEvent> = []
  /** There from the moment a peer is looked for. */
  #reply: Reply | undefined
  #hasEntered = false
  #cancel: () => void = nothing

  constructor(door: AnswerDoor, address: AnswerAddress, request: Request, resolve: (response: Response) => void) {
    this.#door = door
    this.#address = address
    this.#resolve = resolve
    const id = request.headers.get("x-client-request-id")
    this.#info = CurrentRequest.make(id, door.clock.unsafeCurrentTimeMillis())
  }

  begin(request: Request): void {
    this.#guarded(() => this.#letIn(request))
  }

  begun(servedBy: string, mode: Mode): void {
    this.#info.responseHeaders["x-weft-served-by"] = servedBy
    this.#info.responseHeaders["x-weft-route"] = `mesh:${mode}`
  }

  events(events: ReadonlyArray<GenerateEvent>): void {
    this.#guarded(() => {
      if (this.#isOver) return undefined
      const ending = this.#reply?.events(events)
      // The client comes before the books.
      if (ending === undefined) this.#account?.note(events)
      else this.#unnoted = events
      return ending
    })
  }

  refused(why: NoAnswer): void {
    this.#guarded(() => fromNoAnswer(why))
  }

  tick(): void {
    this.#guarded(() => {
      const { limits, ticksMax } = this.#door
      this.#ticks++
      if (this.#reply !== undefined) return this.#ticks > ticksMax.answer ? answerTimeout() : this.#reply.tick()
      return this.#ticks > ticksMax.body ? requestTimeout(Duration.toSeconds(limits.bodyDeadline)) : undefined
    })
  }

  cut(): void {
    this.#guarded(shuttingDown)
  }

  send(status: number, headers: Readonly<Record<string, string>>, body: string | ReadableStream): void {
    const all = ResponseHeaders.of(this.#info, this.#door.clock.unsafeCurrentTimeMillis())
    this.#resolve(new Response(body, { status, headers: Object.assign(all, headers) }))
  }

  fail(error: ApiError): void {
    this.send(error.status, { "content-type": "application/json", ...toHeaders(error) }, toBody(error))
  }

  #letIn(request: Request): ApiError | undefined {
    const { admission, limits, ticking } = this.#door
    const { headers, signal } = request
    const caller = admission.admit(headers.get("authorization") ?? undefined, this.#info.responseHeaders)
    if (Either.isLeft(caller)) return caller.left
    const profile = profileOf(headers.get("x-weft-profile"))
    if (Either.isLeft(profile)) return profile.left
    const labels = AskedLabels.of(headers, caller.right.labels)
    if (Either.isLeft(labels)) return labels.left
    const body = readBody(request, RequestBody.declaredBytes(headers), limits.bodyBytesMax)
    this.#dropBody = body.cancel
    ticking.attend(this)
    signal.addEventListener("abort", this.#left, once)
    void body.bytes.then((bytes) =>
      this.#guarded(() => {
        this.#dropBody = undefined
        if (this.#isOver) return undefined
        if (bytes === "large") return bodyTooLarge(limits.bodyBytesMax)
        return bytes === "broken" ? RequestBody.broken() : this.#ask(bytes, caller.right, profile.right, labels.right)
      })
    )
    return undefined
  }

  #ask(bytes: Uint8Array, caller: Caller, profile: Profile | undefined, labels: Labels): ApiError | undefined {
    const asked = Either.flatMap(RequestBody.parse(bytes, this.#door.limits.jsonDepthMax), this.#address.fromBody)
    if (Either.isLeft(asked)) return asked.left
    const served = this.#door.inference.find(asked.right.model)
    const grant = caller.takeTokens(...Asked.estimate(asked.right, served))
    if (Either.isLeft(grant)) return grant.left
    const { clock, log } = this.#door
    const model = served === undefined ? "other" : asked.right.model
    const forWhom = { request: this.#info, model, caller: caller.name, grant: grant.right, clock, log }
    this.#account = new Account(forWhom)
    const fingerprint = served === undefined ? null : `fp_${served.description.sha256.slice(0, 12)}`
    this.#reply = this.#replyTo(asked.right, fingerprint)
    this.#ticks = 0
    this.#hasEntered = this.#door.draining.enter()
    if (!this.#hasEntered) return shuttingDown()
    const request = Asked.toRequest(asked.right, this.#info.id, served, profile)
    const cancel = this.#door.inference.generate(request, { caller: caller.name, labels }, this)
    if (this.#isOver) cancel()
    else this.#cancel = cancel
    return undefined
  }

  #replyTo(asked: Asked.Asked, fingerprint: string | null): Reply {
    const { clock, limits, ticksMax } = this.#door
    const { format } = this.#address
    const createdSeconds = Math.floor(clock.unsafeCurrentTimeMillis() / 1000)
    const head = { requestId: this.#info.id, createdSeconds, model: asked.model, fingerprint }
    if (!asked.stream) return new AnswerWhole(this, format, head)
    const bounds = { bufferBytesMax: limits.streamBufferBytesMax, stallTicksMax: ticksMax.stall }
    return new AnswerStream(this, format.events(head, asked.includeUsage), asked.model, bounds, this.#left)
  }

  /** The client went away, before its response or within it. */
  readonly #left = (): void => this.#guarded(() => "left")

  /** Ends everything once: what the first caller says is what counts. */
  #end(ending: Ending): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#door.ticking.leave(this)
    this.#dropBody?.()
    if (this.#hasEntered) this.#door.draining.leave()
    if (ending !== "whole") this.#cancel()
    const replied = Either.try(() => this.#respond(ending))
    this.#account?.note(this.#unnoted)
    this.#account?.close(Either.isRight(replied) ? statusOf(ending) : statusBroken)
    if (Either.isLeft(replied)) throw replied.left
  }

  #respond(ending: Ending): void {
    if (this.#reply !== undefined) this.#reply.end(ending)
    // who left before there was an answer gets what nobody reads
    else this.fail(typeof ending === "object" ? ending : shuttingDown())
  }

  /** Runs a step and ends as it says; what it throws ends the request with an error that does not tell it. */
  #guarded(step: () => Ending | undefined): void {
    const done = Either.try(() => {
      const ending = step()
      if (ending !== undefined) this.#end(ending)
    })
    if (Either.isRight(done)) return
    this.#door.log.error("a request broke", done.left)
    const error = internalError()
    void Either.try(() => this.#end(error))
    // where the end itself broke, the client still waits; elsewhere this changes nothing
    void Either.try(() => this.#reply?.end(error))
    this.fail(error)
  }
}

const nothing = (): void => undefined
const once = { once: true } as const

/** nginx's status for a client that left, which only the metrics and the log see. */
const statusClientLeft = 499
const statusBroken = 500

const statusOf = (ending: Ending): number =>
  typeof ending === "object" ? ending.status : ending === "whole" ? 200 : statusClientLeft

const isProfile = Schema.is(Profile)

/** Reads how exact the answer must be; the peers' own choice where the client says nothing. */
const profileOf = (header: string | null): Either.Either<Profile | undefined, ApiError> =>
  header === null
    ? Either.right(undefined)
    : isProfile(header)
      ? Either.right(header)
      : Either.left(invalidRequest("The header 'x-weft-profile' must be 'fast' or 'exact'.", "x-weft-profile"))
