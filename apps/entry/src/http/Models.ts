/** `GET /v1/models` and `GET /v1/models/{id}`; ids may hold slashes and colons, percent-encoded or as they are. */
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect } from "effect"
import { Admission } from "../Admission.ts"
import { Inference, type ServedModel } from "../Inference.ts"
import { modelNotFound } from "../OpenAiError.ts"
import { CurrentRequest } from "./CurrentRequest.ts"
import * as Resource from "./Resource.ts"

const admitted = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const { standing } = yield* CurrentRequest
  yield* (yield* Admission).admit(headers.authorization, standing)
})

const list = Effect.gen(function* () {
  yield* admitted
  const models = (yield* Inference).models()
  return json({ object: "list", data: models.map(toItem) })
})

const one = Effect.gen(function* () {
  yield* admitted
  const id = ((yield* HttpRouter.params)["*"] ?? "").slice(0, idCharactersMax)
  const found = (yield* Inference).find(id)
  return found === undefined ? yield* modelNotFound(id) : json(toItem(found))
})

/** Shows the models that are served now. */
export const routes = HttpRouter.concat(Resource.make("/v1/models", list), Resource.make("/v1/models/*", one))

// internal

const json = (value: unknown): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(JSON.stringify(value), { contentType: "application/json" })

/** One model as the OpenAI API lists it, with what clients of local servers look for. */
const toItem = ({ description, peers, sinceMs, ...served }: ServedModel) => ({
  id: description.id,
  object: "model",
  created: Math.floor(sinceMs / 1000),
  owned_by: "weft",
  context_length: description.contextTokens,
  meta: {
    architecture: description.architecture,
    quantization: description.quantization,
    size_bytes: description.sizeBytes,
    sha256: description.sha256,
    peers,
    stages: served.stages()
  }
})

/** Most characters of an id that a message repeats; longer ones are no model's. */
const idCharactersMax = 256
