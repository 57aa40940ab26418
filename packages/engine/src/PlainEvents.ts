/**
 * What comes with every token, told from everything else without a schema: a tenth of the schema's time. Nothing
 * passes that the schema would refuse or change; what does not pass is for the schema to judge.
 */
import { type HostEvent, turnEventsMax } from "./EngineProtocol.ts"
import type { GenerateEvent } from "./Generation.ts"

/** Represents a piece of an answer. */
export type Delta = Extract<GenerateEvent, { readonly _tag: "Delta" }>

/** Represents what a host reports of one turn. */
export type Turn = Extract<HostEvent, { readonly _tag: "Turn" }>

/** Returns whether `value` is a piece of an answer. */
export const isPlainDelta = (value: unknown): value is Delta =>
  hasFields(value, 3) &&
  value["_tag"] === "Delta" &&
  typeof value["text"] === "string" &&
  Array.isArray(value["tokens"]) &&
  value["tokens"].every(Number.isSafeInteger)

/** Returns whether `value` is a turn of running answers: pieces, and nothing cancelled. */
export const isPlainTurn = (value: unknown): value is Turn =>
  hasFields(value, 4) &&
  value["_tag"] === "Turn" &&
  typeof value["decodeSeconds"] === "number" &&
  value["decodeSeconds"] >= 0 &&
  Array.isArray(value["cancelled"]) &&
  value["cancelled"].length === 0 &&
  Array.isArray(value["events"]) &&
  value["events"].length <= turnEventsMax &&
  value["events"].every(isKeyedDelta)

// internal

const isKeyedDelta = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length === 2 &&
  Number.isSafeInteger(value[0]) &&
  value[0] >= 0 &&
  isPlainDelta(value[1])

const hasFields = (value: unknown, count: number): value is Readonly<Record<string, unknown>> => {
  if (typeof value !== "object" || value === null) return false
  let fields = 0
  for (const _ in value) fields++
  return fields === count
}
