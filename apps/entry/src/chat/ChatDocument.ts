/** What the chat page knows of the mesh: the models that are served, and which one a chat begins with. Pure. */
import { Schema } from "effect"
import { defaultModel } from "../sla/DefaultModel.ts"
import { slaStatuses, type Verdict } from "../sla/Gate.ts"
import { tierNames } from "../sla/Tier.ts"

/** Represents a model that can be asked. */
export const ChatModel = Schema.Struct({
  id: Schema.String,
  tier: Schema.Literal(...tierNames),
  status: Schema.Literal(...slaStatuses),
  /** Tokens of a conversation with its answer. */
  contextTokens: Schema.Int
})
/** Represents a model that can be asked. */
export type ChatModel = typeof ChatModel.Type

/** Represents what `GET /api/chat` tells. */
export const ChatDocument = Schema.Struct({
  models: Schema.Array(ChatModel),
  /** Null where no model is served. */
  default: Schema.NullOr(Schema.String)
})
/** Represents what `GET /api/chat` tells. */
export type ChatDocument = typeof ChatDocument.Type

/** Returns the document of the models that are served: by tier, the strictest first, then by name. */
export const of = (
  models: ReadonlyArray<Pick<ChatModel, "id" | "contextTokens">>,
  verdictOf: (model: string) => Verdict
): ChatDocument => ({
  models: models
    .map(({ contextTokens, id }) => {
      const { status, tier } = verdictOf(id)
      return { id, tier, status, contextTokens }
    })
    .toSorted((a, b) => tierNames.indexOf(a.tier) - tierNames.indexOf(b.tier) || (a.id < b.id ? -1 : 1)),
  default:
    defaultModel(
      models.map(({ id }) => id),
      verdictOf
    ) ?? null
})
