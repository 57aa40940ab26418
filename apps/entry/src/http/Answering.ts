/**
 * One request for an answer, from its bytes to the end of its answer; chat and text completions differ in how they are
 * read and written alone. Order: key, body, fields, model, quota, gate, peer. Plain callbacks from the socket to the
 * mesh and back: what a request costs here is most of what a small answer costs the entry.
 */
import { type GenerateEvent, Profile } from "@weft/engine/Generation"
import type { Labels } from "@weft/mesh/Labels"
import type { PeerId } from "@weft/mesh/PeerId"
import { Duration, Either, Schema } from "effect"
import type { Caller } from "../Admission.ts"
import { clientAddress } from "../fallback/ClientAddress.ts"
import { GatedAnswer, type GatedListener } from "../fallback/GatedAnswer.ts"
import type { NoAnswer, Route } from "../Inference.ts"
import { readBody } from "../internal/ReadBody.ts"
import {
  type ApiError,
  answerTimeout,
  bodyTooLarge,
  fallbackFailed,
  fromNoAnswer,
  internalError,
  invalidRequest,
  requestTimeout,
  shuttingDown,
  toBody,
  toHeaders
} from "../OpenAiError.ts"
import type { ServedBy } from "../share/ShareState.ts"
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
  readonly path: `/v1/${string}`
  readonly fromBody: (body: RequestBody.JsonObject) => Either.Either<Asked.Asked, ApiError>
  readonly format: AnswerFormat
}

/** Answers a request that came to `address`; a defect is a 500 too. `socketAddress` says who is at the other end. */
export const answer = (
  door: AnswerDoor,
  address: AnswerAddress,
  request: Request,
  socketAddress: () => string | undefined
): Promise<Response> => new Promise((resolve) => new Answering(door, address, request, socketAddress, resolve).begin())

// internal

class Answering implements GatedListener, Attended, Respond {
  readonly #door: AnswerDoor
  readonly #address: AnswerAddress
  readonly #request: Request
  readonly #socketAddress: () => string | undefined
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
  #asked: Asked.Asked | undefined
  /** There once somebody is asked. */
  #answer: GatedAnswer | undefined
  #route: Route | undefined

  constructor(
    door: AnswerDoor,
    address: AnswerAddress,
    request: Request,
    socketAddress: () => string | undefined,
    resolve: (response: Response) => void
  ) {
    this.#door = door
    this.#address = address
    this.#request = request
    this.#socketAddress = socketAddress
    this.#resolve = resolve
    const id = request.headers.get("x-client-request-id")
    this.#info = CurrentRequest.make(id, door.clock.unsafeCurrentTimeMillis())
  }

  begin(): void {
    this.#guarded(() => this.#letIn())
  }

  begun(servedBy: PeerId | "fallback", route: Route): void {
    this.#route = route
    if (servedBy !== "fallback" && this.#answer?.isOfMeshAlone) {
      this.#account?.begun(servedBy, route === "mesh:split" ? "split" : "solo")
    }
    // what the provider computes with is not the file that peers hold; nothing was written yet
    if (route === "fallback" && this.#asked !== undefined) this.#reply = this.#replyTo(this.#asked, null)
  }

  moved(): void {
    this.#account?.moved()
  }

  events(events: ReadonlyArray<GenerateEvent>): void {
    this.#guarded(() => {
      if (this.#isOver) return undefined
      const ending = this.#reply?.events(events)
      // The last events are noted with the rest of the books.
      if (ending === undefined) this.#account?.note(events)
      else this.#unnoted = events
      return ending
    })
  }

  refused(why: NoAnswer): void {
    this.#guarded(() => fromNoAnswer(why))
  }

  broke(): void {
    this.#guarded(fallbackFailed)
  }

  tick(): void {
    this.#guarded(() => {
      const { limits, ticksMax } = this.#door
      this.#ticks++
      if (this.#reply !== undefined) {
        if (this.#ticks > ticksMax.answer) return answerTimeout()
        // headers that went out now could not say who answers
        return this.#answer?.isUndecided ? undefined : this.#reply.tick()
      }
      return this.#ticks > ticksMax.body ? requestTimeout(Duration.toSeconds(limits.bodyDeadline)) : undefined
    })
  }

  cut(): void {
    this.#guarded(shuttingDown)
  }

  send(status: number, headers: Readonly<Record<string, string>>, body: string | ReadableStream): void {
    const all = ResponseHeaders.of(this.#info, this.#door.clock.unsafeCurrentTimeMillis())
    this.#resolve(new Response(body, { status, headers: Object.assign(all, this.#answer?.headers, headers) }))
  }

  fail(error: ApiError): void {
    this.send(error.status, { "content-type": "application/json", ...toHeaders(error) }, toBody(error))
  }

  #letIn(): ApiError | undefined {
    const { admission, limits, ticking } = this.#door
    const { headers } = this.#request
    const caller = admission.admit(headers.get("authorization") ?? undefined, this.#info.standing)
    if (Either.isLeft(caller)) return caller.left
    const profile = profileOf(headers.get("x-weft-profile"))
    if (Either.isLeft(profile)) return profile.left
    const labels = AskedLabels.of(headers, caller.right.labels)
    if (Either.isLeft(labels)) return labels.left
    const body = readBody(this.#request, RequestBody.declaredBytes(headers), limits.bodyBytesMax)
    this.#dropBody = body.cancel
    ticking.attend(this)
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

  #ask(bytes: Uint8Array, caller: Caller, profile: Profile | undefined, labels: Labels): Ending | undefined {
    const body = RequestBody.parse(bytes, this.#door.limits.jsonDepthMax)
    if (Either.isLeft(body)) return body.left
    const asked = this.#address.fromBody(body.right)
    if (Either.isLeft(asked)) return asked.left
    const { clock, draining, fallback, inference, log, performance } = this.#door
    const { model } = asked.right
    const served = inference.find(model)
    const estimate = Asked.estimate(asked.right, served)
    const grant = caller.takeTokens(...estimate)
    if (Either.isLeft(grant)) return grant.left
    const label = served === undefined && !fallback.knows(model) ? "other" : model
    this.#account = new Account({
      request: this.#info,
      model: label,
      caller: caller.name,
      grant: grant.right,
      clock,
      log,
      performance
    })
    const fingerprint = served === undefined ? null : `fp_${served.description.sha256.slice(0, 12)}`
    this.#asked = asked.right
    this.#reply = this.#replyTo(asked.right, fingerprint)
    this.#ticks = 0
    this.#hasEntered = draining.enter()
    if (!this.#hasEntered) return shuttingDown()
    this.#answer = new GatedAnswer(
      this.#door,
      {
        request: Asked.toRequest(asked.right, this.#info.id, served, profile),
        asker: { caller: caller.name, labels },
        elsewhere: { path: this.#address.path, body: body.right, promptTokens: estimate[0] },
        isPortable: isPortable(asked.right, profile, labels),
        client: this.#client
      },
      this
    )
    this.#answer.begin()
    // Last, as it takes a while: one who left before that is seen here, one who left within the body broke it.
    const { signal } = this.#request
    signal.addEventListener("abort", this.#left, once)
    return signal.aborted ? "left" : undefined
  }

  /** The address whose budget at the provider the request takes from. */
  readonly #client = (): string => {
    const forwardedFor = this.#door.trustedProxy ? this.#request.headers.get("x-forwarded-for") : null
    return clientAddress(this.#socketAddress(), forwardedFor ?? undefined)
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
    if (ending !== "whole") this.#answer?.cancel()
    const replied = Either.try(() => this.#respond(ending))
    // The client comes before the books: its last bytes leave at the end of this turn of the event loop.
    setImmediate(() => this.#guarded(() => this.#close(Either.isRight(replied) ? statusOf(ending) : statusBroken)))
    if (Either.isLeft(replied)) throw replied.left
  }

  /** Writes the books; who drains the entry waits for them. */
  #close(status: number): undefined {
    if (this.#hasEntered) this.#door.draining.leave()
    const account = this.#account
    if (account === undefined) return
    account.note(this.#unnoted)
    const tokens = account.close(status)
    const servedBy = servedByOf(status, this.#route)
    if (servedBy !== undefined) this.#door.share.record({ model: account.model, servedBy, tokens })
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

const once = { once: true } as const

/** nginx's status for a client that left, which only the metrics and the log see. */
const statusClientLeft = 499
const statusBroken = 500
const statusWhole = 200

const statusOf = (ending: Ending): number =>
  typeof ending === "object" ? ending.status : ending === "whole" ? statusWhole : statusClientLeft

/** An error is nobody's answer, however much of one came before; who left before there was any is in no count. */
const servedByOf = (status: number, route: Route | undefined): ServedBy | undefined =>
  status !== statusWhole && status !== statusClientLeft
    ? "refused"
    : route === "mesh:solo" || route === "mesh:split"
      ? "mesh"
      : route

/** Numbers of tokens, exactness, regions and trust mean something within a mesh alone. */
const isPortable = ({ prompt }: Asked.Asked, profile: Profile | undefined, { region, trust }: Labels): boolean =>
  prompt._tag !== "Tokens" && profile !== "exact" && region === undefined && trust === undefined

const isProfile = Schema.is(Profile)

/** Reads how exact the answer must be; the peers' own choice where the client says nothing. */
const profileOf = (header: string | null): Either.Either<Profile | undefined, ApiError> =>
  header === null
    ? Either.right(undefined)
    : isProfile(header)
      ? Either.right(header)
      : Either.left(invalidRequest("The header 'x-weft-profile' must be 'fast' or 'exact'.", "x-weft-profile"))
