/** What holds for every list of the door whatever is in it. */
import { expect } from "bun:test"
import { fromSecret } from "@weft/entry/ApiKeys"
import { Effect } from "effect"
import { open, send } from "./support.ts"

const terms = { requestsPerMinute: null, tokensPerMinute: null, region: null, trust: null }

/** Expects that the list at `path` is empty where nothing is, and that it needs a key where keys are needed. */
export const isEmptyAndKeyed = (path: `/api/${string}`) =>
  Effect.gen(function* () {
    const plain = yield* open()
    expect((yield* send(`${plain.url}${path}`)).json).toEqual({ object: "list", data: [] })
    const keyed = yield* open({ config: { apiKeys: [fromSecret("one", "a-secret-of-sixteen", terms)] } })
    expect((yield* send(`${keyed.url}${path}`)).status).toBe(401)
  }).pipe(Effect.scoped)
