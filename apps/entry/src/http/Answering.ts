/**
 * One request for an answer, from its bytes to its response; chat and text completions differ in how they are read and
 * written alone. Order: key, body, fields, model, quota, peer. An answer that fails before its headers are sent has the
 * right status; headers of a stream wait for the first text, or for one keep-alive period at most.
 */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { type GenerateRequest, Profile } from "@weft/engine/Generation"
import { Cause, Clock, Effect, Either, Schema, type Scope } from "effect"
import { Admission } from "../Admission.ts"
import { type Answer, Inference, type ServedModel } from "../Inference.ts"
import { type ApiError, answerTimeout, fromFailure, fromNoAnswer, invalidRequest } from "../OpenAiError.ts"
import * as Account from "./Account.ts"
import type { AnswerFormat, AnswerHead } from "./AnswerFormat.ts"
import { AnswerStream } from "./AnswerStream.ts"
import type { Asked } from "./Asked.ts"
import { CurrentRequest } from "./CurrentRequest.ts"
import { Draining } from "./Draining.ts"
import { HttpLimits } from "./HttpLimits.ts"
import * as RequestBody from "./RequestBody.ts"

/** Makes the handler of an address that answers. */
export const make = (
  fromBody: (body: RequestBody.JsonObject) => Either.Either<Asked, ApiError>,
  format: AnswerFormat
): Effect.Effect<HttpServerResponse.HttpServerResponse, ApiError, Needs> =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const current = yield* CurrentRequest
    const caller = yield* (yield* Admission).admit(request.headers.authorization, current.responseHeaders)
    const profile = yield* profileOf(request.headers["x-weft-profile"])
    const asked = yield* fromBody(yield* RequestBody.json)
    const served = (yield* (yield* Inference).models).find(({ description }) => description.id === asked.model)
    const grant = yield* caller.takeTokens(...estimate(asked, served))
    const account = yield* Account.open(served === undefined ? "other" : asked.model, caller.name, grant)
    const head: AnswerHead = {
      requestId: current.id,
      createdSeconds: Math.floor((yield* Clock.currentTimeMillis) / 1000),
      model: asked.model,
      fingerprint: served === undefined ? null : `fp_${served.description.sha256.slice(0, 12)}`
    }
    return yield* (asked.stream ? streamed : whole)(
      { ...toRequest(asked, current.id, served), ...profile },
      asked,
      format,
      head,
      account
    )
  })

// internal

type Needs = Admission | AnswerStream | CurrentRequest | Draining | HttpServerRequest.HttpServerRequest | Inference

/** Reads how exact the answer must be; the peers' own choice where the client says nothing. */
const profileOf = (header: string | undefined): Either.Either<Pick<GenerateRequest, "profile">, ApiError> => {
  if (header === undefined) return Either.right({})
  return Schema.is(Profile)(header)
    ? Either.right({ profile: header })
    : Either.left(invalidRequest("The header 'x-weft-profile' must be 'fast' or 'exact'.", "x-weft-profile"))
}

/** Tokens that an answer without a bound is expected to have; settled when it ends. */
const answerTokensExpected = 256
/** Characters of a token, on average over English text and common vocabularies. */
const charactersPerToken = 4

/** Returns what a request is charged in advance: tokens of its prompt, and of its answer. */
const estimate = (asked: Asked, served: ServedModel | undefined): readonly [prompt: number, answer: number] => [
  Math.ceil(asked.promptCharacters / charactersPerToken),
  Math.min(asked.maxTokens ?? answerTokensExpected, served?.description.contextTokens ?? answerTokensExpected)
]

/** More tokens than a context holds are as many as fit: such an answer ends with `length`, as other servers do. */
const toRequest = (asked: Asked, requestId: string, served: ServedModel | undefined): GenerateRequest => ({
  requestId,
  model: asked.model,
  prompt: asked.prompt,
  sampling: asked.sampling,
  stop: asked.stop,
  ...(asked.maxTokens === undefined
    ? {}
    : { maxTokens: Math.min(asked.maxTokens, served?.description.contextTokens ?? asked.maxTokens) })
})

/** Begins an answer in the name of `caller`; its scope is the one in context. */
const begin = (request: GenerateRequest, caller: string): Effect.Effect<Answer, ApiError, Needs | Scope.Scope> =>
  Effect.gen(function* () {
    yield* (yield* Draining).enter
    const answer = yield* Effect.mapError((yield* Inference).generate(request, caller), fromNoAnswer)
    const { responseHeaders } = yield* CurrentRequest
    responseHeaders["x-weft-served-by"] = answer.servedBy
    return answer
  })

/** Closes the account with the status of an error, or as left by a client that went away before its response. */
const closing =
  (account: Account.Account) =>
  <A, R>(effect: Effect.Effect<A, ApiError, R>): Effect.Effect<A, ApiError, R> =>
    Effect.onError(effect, (cause) =>
      account.close(
        cause._tag === "Fail" ? cause.error.status : Cause.isInterrupted(cause) ? statusClientLeft : statusBroken
      )
    )

const statusClientLeft = 499
const statusBroken = 500

type Respond = (
  request: GenerateRequest,
  asked: Asked,
  format: AnswerFormat,
  head: AnswerHead,
  account: Account.Account
) => Effect.Effect<HttpServerResponse.HttpServerResponse, ApiError, Needs>

/** Collects the whole answer and responds once. */
const whole: Respond = (request, _asked, format, head, account) =>
  Effect.gen(function* () {
    const answer = yield* begin(request, account.caller)
    let text = ""
    while (true) {
      const [events, done] = yield* answer.events.takeAll
      account.note(events)
      for (const event of events) {
        if (event._tag === "Delta") text += event.text
        else if (event._tag === "Failed") return yield* fromFailure(event.failure, request.model)
        else if (event._tag === "Finished") {
          yield* account.close(200)
          return HttpServerResponse.text(format.whole(head, text, event.finishReason, event.usage), {
            contentType: "application/json"
          })
        }
      }
      if (done) return yield* fromFailure({ code: "engine_lost", message: "" }, request.model)
    }
  }).pipe(Effect.scoped, withDeadline, closing(account))

/** Responds with a stream that goes on by itself. */
const streamed: Respond = (request, asked, format, head, account) =>
  Effect.flatMap(AnswerStream, (streams) =>
    streams.respond({
      begin: begin(request, account.caller),
      model: request.model,
      account,
      events: format.events(head, asked.includeUsage)
    })
  )

function withDeadline<A, R>(effect: Effect.Effect<A, ApiError, R>): Effect.Effect<A, ApiError, R> {
  return Effect.flatMap(HttpLimits, ({ answerDeadline }) =>
    Effect.timeoutFail(effect, { duration: answerDeadline, onTimeout: answerTimeout })
  )
}
