/** What one answer used, from its request's arrival to its end: feeds the metrics, the caller's quota and the log. */
import type { GenerateEvent, Usage } from "@weft/engine/Generation"
import { Effect } from "effect"
import type { Grant } from "../Admission.ts"
import * as EntryMetrics from "../EntryMetrics.ts"
import { CurrentRequest } from "./CurrentRequest.ts"

/** Represents the account of one answer. */
export interface Account {
  /** Name of the key it is for. */
  readonly caller: string
  /** Notes a batch of events that came at once. */
  readonly note: (events: Iterable<GenerateEvent>) => void
  /** Closes the account with the status the client saw; calls after the first do nothing. */
  readonly close: (status: number) => Effect.Effect<void>
}

/** Opens the account of a request that was let in; `model` is `other` where nobody serves what was asked for. */
export const open = (model: string, caller: string, grant: Grant): Effect.Effect<Account, never, CurrentRequest> =>
  Effect.gen(function* () {
    const request = yield* CurrentRequest
    const clock = yield* Effect.clock
    const secondsNow = (): number => clock.unsafeCurrentTimeMillis() / 1000
    let promptTokens = 0
    let completionTokens = 0
    let lastNanos: bigint | undefined
    let usage: Usage | undefined
    let open = true
    EntryMetrics.requestsInFlight.inc({ model })

    const noteTokens = (count: number): void => {
      const now = clock.unsafeCurrentTimeNanos()
      if (lastNanos === undefined) {
        EntryMetrics.timeToFirstToken.observe({ model }, Math.max(0, secondsNow() - request.startedMs / 1000))
      } else {
        EntryMetrics.interTokenLatency.observe({ model }, Number(now - lastNanos) / 1e9 / Math.max(1, count))
      }
      lastNanos = now
    }

    return {
      caller,
      note: (events) => {
        let count = 0
        let hasText = false
        for (const event of events) {
          if (event._tag === "Started") promptTokens = event.promptTokens
          else if (event._tag === "Finished") usage = event.usage
          else if (event._tag === "Delta") {
            count += event.tokens.length
            hasText ||= event.text !== ""
          }
        }
        completionTokens += count
        if (hasText) noteTokens(count)
      },
      close: (status) =>
        Effect.suspend(() => {
          if (!open) return Effect.void
          open = false
          const used = usage ?? { promptTokens, completionTokens }
          EntryMetrics.requestsInFlight.dec({ model })
          EntryMetrics.requests.inc({ model, code: String(status) })
          EntryMetrics.requestDuration.observe({ model }, Math.max(0, secondsNow() - request.startedMs / 1000))
          EntryMetrics.tokens.inc({ model, kind: "prompt" }, used.promptTokens)
          EntryMetrics.tokens.inc({ model, kind: "completion" }, used.completionTokens)
          return Effect.zipRight(
            grant.settle(used.promptTokens + used.completionTokens),
            Effect.annotateLogs(Effect.logDebug("answer ended"), {
              request: request.id,
              clientRequest: request.clientRequestId ?? "",
              caller,
              model,
              status,
              promptTokens: used.promptTokens,
              completionTokens: used.completionTokens
            })
          )
        })
    }
  })
