/**
 * `/chat`, the page; `/api/chat`, the models it offers; `/`, which leads there. Public, as the status is: models are no
 * secret, and answers ask for a key where the entry has any.
 */
import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { Effect, Schema } from "effect"
import { h } from "preact"
import * as Resource from "../http/Resource.ts"
import { Inference } from "../Inference.ts"
import type { PageRoutes } from "../page/PageRoutes.ts"
import { originPlaceholder } from "../page/PageShell.tsx"
import { Sla } from "../sla/Sla.ts"
import * as ChatDocument from "./ChatDocument.ts"
import * as ChatState from "./ChatState.ts"
import { ChatView } from "./page/ChatView.tsx"

/** Returns the routes. */
export const of = (pages: PageRoutes) =>
  HttpRouter.concatAll(
    Resource.make("/", Effect.succeed(HttpServerResponse.redirect("/chat"))),
    Resource.make("/api/chat", told),
    Resource.make("/chat", pages.handler({ name: "chat", title: "Weft chat", shown }))
  )

// internal

const encode = Schema.encodeSync(Schema.parseJson(ChatDocument.ChatDocument))

const document = Effect.gen(function* () {
  const served = (yield* Inference).models().map(({ description }) => description)
  return ChatDocument.of(served, (yield* Sla).verdict)
})

const told = Effect.map(document, (current) =>
  HttpServerResponse.text(encode(current), {
    contentType: "application/json",
    headers: { "cache-control": "no-store" }
  })
)

const shown = Effect.map(document, (current) => ({
  json: encode(current),
  draw: () =>
    h(ChatView, { document: current, origin: originPlaceholder, state: ChatState.empty, chosen: current.default })
}))
