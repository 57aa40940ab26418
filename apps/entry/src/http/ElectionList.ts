/** `GET /api/elections`: which peer serves, keeps ready or dropped which of its models, why, and whom it follows. */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { type Elected, isLeased } from "@weft/mesh/election/ElectionState"
import { toText } from "@weft/mesh/election/SoloLease"
import type { PeerId } from "@weft/mesh/PeerId"
import { Clock, Effect } from "effect"
import { Admission } from "../Admission.ts"
import { Elections } from "../election/Elections.ts"
import { CurrentRequest } from "./CurrentRequest.ts"
import * as Resource from "./Resource.ts"

const list = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const { standing } = yield* CurrentRequest
  yield* (yield* Admission).admit(headers.authorization, standing)
  const now = yield* Clock.currentTimeMillis
  const data = [...(yield* Elections).unsafeSnapshot()].map((one) => toItem(one, now))
  return HttpServerResponse.text(JSON.stringify({ object: "list", data }), { contentType: "application/json" })
})

/** Shows the elections. */
export const routes = Resource.make("/api/elections", list)

// internal

const toItem = ([peer, elected]: readonly [PeerId, Elected], now: number) => ({
  peer,
  epoch: elected.epoch,
  lease: isLeased(elected, now) ? { until: new Date(elected.leasedUntilMs).toISOString() } : null,
  elsewhere:
    elected.elsewhere === undefined || now >= elected.elsewhere.untilMs
      ? null
      : { entry: elected.elsewhere.entry, until: new Date(elected.elsewhere.untilMs).toISOString() },
  refused:
    elected.refused === undefined ? null : { reason: elected.refused.reason, why: toText(elected.refused.reason) },
  changed: elected.changedAtMs === 0 ? null : new Date(elected.changedAtMs).toISOString(),
  models: elected.assignments
})
