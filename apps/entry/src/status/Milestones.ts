/** When each model was first served through the mesh, and first by a split: kept in the database, each once for all. */
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { Effect, type ParseResult, Schema } from "effect"

/** Represents what a model reached, milliseconds since 1970 each. */
export interface ReachedMilestones {
  readonly mesh?: number
  readonly split?: number
}

/** Represents a milestone of a model. */
export interface Milestone {
  readonly model: string
  readonly milestone: keyof ReachedMilestones
  readonly reachedAtMs: number
}

/** Represents the kept milestones. */
export interface Milestones {
  /** Returns the milestones by model. */
  readonly unsafeSnapshot: () => ReadonlyMap<string, ReachedMilestones>
  /** Keeps what was not reached before. */
  readonly reach: (reached: ReadonlyArray<Milestone>) => Effect.Effect<void, SqlError>
}

/** Most models remembered: a peer may serve under any names, but a name counts only once somebody asked for it. */
export const milestoneModelsMax = 4_096

/** Reads what is kept. */
export const make: Effect.Effect<Milestones, SqlError | ParseResult.ParseError, SqlClient> = Effect.gen(function* () {
  const sql = yield* SqlClient
  const rows = yield* sql`SELECT model, milestone, reached_at_ms AS reachedAtMs FROM milestones`
  const models = new Map<string, ReachedMilestones>()
  const note = ({ milestone, model, reachedAtMs }: Milestone): void =>
    void models.set(model, { ...models.get(model), [milestone]: reachedAtMs })
  for (const row of yield* decodeRows(rows)) note(row)
  const insert = ({ milestone, model, reachedAtMs }: Milestone) =>
    sql`INSERT OR IGNORE INTO milestones ${sql.insert({ model, milestone, reached_at_ms: reachedAtMs })}`
  return {
    unsafeSnapshot: () => models,
    reach: (reached) => {
      const room = milestoneModelsMax - models.size
      const added = new Set(
        [...new Set(reached.map(({ model }) => model))].filter((model) => !models.has(model)).slice(0, room)
      )
      const fresh = reached.filter(
        ({ milestone, model }) =>
          added.has(model) || (models.has(model) && models.get(model)?.[milestone] === undefined)
      )
      if (fresh.length === 0) return Effect.void
      return Effect.forEach(fresh, insert, { discard: true }).pipe(
        sql.withTransaction,
        Effect.zipRight(Effect.sync(() => fresh.forEach(note)))
      )
    }
  }
})

// internal

const decodeRows = Schema.decodeUnknown(
  Schema.Array(
    Schema.Struct({ model: Schema.String, milestone: Schema.Literal("mesh", "split"), reachedAtMs: Schema.Int })
  )
)
