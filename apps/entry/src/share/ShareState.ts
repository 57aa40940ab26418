/**
 * How many requests the mesh answered itself, per hour and model: what was counted and not written yet, and the sums of
 * a week. No clock, no database; `Share.ts` owns the one of an entry.
 */

/** Who answered: a peer, the provider that stands in, or nobody. */
export type ServedBy = "mesh" | "fallback" | "refused"

/** Represents one request that has ended. */
export interface EndedRequest {
  readonly model: string
  readonly servedBy: ServedBy
  /** Tokens of its answer. */
  readonly tokens: number
}

/** Represents the requests of one hour, model and who answered. */
export interface ShareHour {
  /** When the hour began, milliseconds since 1970. */
  readonly hourMs: number
  readonly model: string
  readonly servedBy: ServedBy
  readonly requests: number
  readonly tokens: number
}

/** Represents the requests of a time. */
export interface ShareOfTime {
  readonly requests: number
  readonly mesh: number
  readonly fallback: number
  readonly refused: number
  /** The mesh's part of what was answered, 0 to 100; null where nothing was. */
  readonly mesh_share_pct: number | null
}

/** Represents the requests of one hour and who answered. */
export interface HourSum {
  readonly hourMs: number
  readonly servedBy: ServedBy
  readonly requests: number
}

/** An hour in milliseconds. */
export const hourMs = 3_600_000
/** Hours of the two times that are shown: the one that is not over counts as one. */
export const dayHours = 24
/** Hours of a week. */
export const weekHours = 168

/** Most names of models in an hour, as many as the directory knows; requests for more count as `other`. */
export const modelsMax = 1_024

/** What is counted where names of models would be too many. */
export const otherModel = "other"

/** Represents what is known of the last week. */
export class ShareState {
  /** What is to be added to the database. */
  readonly #pending = new Map<string, Counted>()
  readonly #sums = new Map<number, Sum>()
  /** Requests by model and who answered, since the entry began. */
  readonly #totals = new Map<string, Counted>()
  #models = new Set<string>()
  #modelsOf = 0

  /** Begins with what the database holds of the last week, and the models that the hour of `nowMs` has there. */
  constructor(known: ReadonlyArray<HourSum>, models: ReadonlyArray<string>, nowMs: number) {
    for (const { hourMs, requests, servedBy } of known) this.#sumOf(hourMs)[servedBy] += requests
    this.#models = new Set(models)
    this.#modelsOf = hourOf(nowMs)
  }

  /** What was counted since the entry began, all hours together. */
  get totals(): Iterable<Omit<ShareHour, "hourMs">> {
    return this.#totals.values()
  }

  /** Counts one request. */
  count({ servedBy, tokens, ...ended }: EndedRequest, nowMs: number): void {
    const hour = hourOf(nowMs)
    const model = this.#nameOf(ended.model, hour)
    add(this.#pending, { hourMs: hour, model, servedBy, requests: 1, tokens })
    add(this.#totals, { hourMs: 0, model, servedBy, requests: 1, tokens })
    this.#sumOf(hour)[servedBy]++
  }

  /** Returns what is to be written, and forgets it. */
  takePending(): ReadonlyArray<ShareHour> {
    const rows = [...this.#pending.values()]
    this.#pending.clear()
    return rows
  }

  /** Takes back what could not be written. */
  putBack(rows: ReadonlyArray<ShareHour>): void {
    for (const row of rows) add(this.#pending, row)
  }

  /** Returns the sums of the last `hours`, the one that is not over included. */
  summary(hours: number, nowMs: number): ShareOfTime {
    const sums = { mesh: 0, fallback: 0, refused: 0 }
    const first = hourOf(nowMs) - (hours - 1) * hourMs
    for (const [at, sum] of this.#sums) {
      if (at < first) continue
      sums.mesh += sum.mesh
      sums.fallback += sum.fallback
      sums.refused += sum.refused
    }
    const answered = sums.mesh + sums.fallback
    return {
      requests: answered + sums.refused,
      ...sums,
      mesh_share_pct: answered === 0 ? null : (100 * sums.mesh) / answered
    }
  }

  /** Names of models stay as they are until an hour has too many, and for all time there are twice as many totals. */
  #nameOf(model: string, hour: number): string {
    if (hour !== this.#modelsOf) {
      this.#models = new Set()
      this.#modelsOf = hour
    }
    if (this.#models.has(model)) return model
    if (this.#models.size >= modelsMax || this.#pending.size >= pendingMax || this.#totals.size >= totalsMax) {
      return otherModel
    }
    this.#models.add(model)
    return model
  }

  #sumOf(hour: number): Sum {
    const known = this.#sums.get(hour)
    if (known !== undefined) return known
    const sum = { mesh: 0, fallback: 0, refused: 0 }
    this.#sums.set(hour, sum)
    for (const at of this.#sums.keys()) if (at < hour - weekHours * hourMs) this.#sums.delete(at)
    return sum
  }
}

/** Returns when the hour of `nowMs` began. */
export const hourOf = (nowMs: number): number => Math.floor(nowMs / hourMs) * hourMs

// internal

type Counted = { -readonly [Key in keyof ShareHour]: ShareHour[Key] }
type Sum = Record<ServedBy, number>

/** Most rows that wait where the database cannot be written, some megabytes; behind them all models are `other`. */
const pendingMax = 16_384
/** Most series that are shown since the entry began; behind them new models are `other`. */
const totalsMax = 6_144

const add = (into: Map<string, Counted>, row: ShareHour): void => {
  const key = `${row.hourMs} ${row.servedBy} ${row.model}`
  const known = into.get(key)
  if (known === undefined) into.set(key, { ...row })
  else {
    known.requests += row.requests
    known.tokens += row.tokens
  }
}
