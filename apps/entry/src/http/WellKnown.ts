/** `GET /.well-known/weft`, without a key: what a peer needs to dial this entry. */
import { HttpServerResponse } from "@effect/platform"
import * as Mesh from "@weft/mesh/EntryDescription"
import { Effect, Schema } from "effect"
import { EntryDescription } from "../EntryDescription.ts"
import * as Resource from "./Resource.ts"

const encode = Schema.encodeSync(Schema.parseJson(Mesh.EntryDescription))

/** Shows the entry's description. */
export const routes = Resource.make(
  "/.well-known/weft",
  Effect.map(EntryDescription, (description) =>
    HttpServerResponse.text(encode(description), { contentType: "application/json" })
  )
)
