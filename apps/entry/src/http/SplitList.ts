/** `GET /api/splits`: which models are split among peers, how far that is, and why each peer has the part it has. */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { type Explanation, toText } from "@weft/engine/pipeline/PipelinePlan"
import { Effect } from "effect"
import { Admission } from "../Admission.ts"
import type { Group } from "../split/SplitState.ts"
import { Splits } from "../split/Splits.ts"
import { CurrentRequest } from "./CurrentRequest.ts"
import * as Resource from "./Resource.ts"

const list = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const { standing } = yield* CurrentRequest
  yield* (yield* Admission).admit(headers.authorization, standing)
  const { groups, outlooks } = (yield* Splits).unsafeSnapshot()
  const data = [...outlooks].map(([model, { explanations, failures }]) => ({
    model,
    failures,
    group: toGroup(groups.get(model)),
    peers: explanations.map(toPeer)
  }))
  return HttpServerResponse.text(JSON.stringify({ object: "list", data }), { contentType: "application/json" })
})

/** Shows the splits. */
export const routes = Resource.make("/api/splits", list)

// internal

const toGroup = (group: Group | undefined) =>
  group === undefined
    ? null
    : {
        id: group.group,
        state: group.phase,
        since: new Date(group.sinceMs).toISOString(),
        epoch: group.epoch,
        stages: group.stages.map(({ from, peer, to }) => ({ peer, from, to, ...group.progress.get(peer) })),
        spares: group.spares.map(({ peer }) => ({ peer, ...group.progress.get(peer) }))
      }

/** The verdict as a word for programs and a sentence for people. */
const toPeer = (explanation: Explanation) => ({
  peer: explanation.peer,
  verdict: explanation.verdict.kind,
  why: toText(explanation)
})
