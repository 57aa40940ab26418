/** `GET /api/models/default`: which model a chat begins with, and the gate's verdict; null where none is served. */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect } from "effect"
import { Admission } from "../Admission.ts"
import { Inference } from "../Inference.ts"
import { defaultModel } from "../sla/DefaultModel.ts"
import { Sla } from "../sla/Sla.ts"
import { CurrentRequest } from "./CurrentRequest.ts"
import * as Resource from "./Resource.ts"

const show = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const { standing } = yield* CurrentRequest
  yield* (yield* Admission).admit(headers.authorization, standing)
  const models = (yield* Inference).models().map(({ description }) => description.id)
  const { verdict } = yield* Sla
  const id = defaultModel(models, verdict)
  const judged = id === undefined ? undefined : verdict(id)
  const body = { object: "default_model", id: id ?? null, tier: judged?.tier ?? null, status: judged?.status ?? null }
  return HttpServerResponse.text(JSON.stringify(body), { contentType: "application/json" })
})

/** Shows the default model. */
export const routes = Resource.make("/api/models/default", show)
