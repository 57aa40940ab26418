/**
 * Who guesses for the answers of a pipeline, and what became of the guesses. Owned by the host's jobs: each answer asks
 * here for its drafts and says what the tail decided; the draft model, where there is one, computes in between.
 */
import { type Drafter, lookup, none, type Source } from "./Draft.ts"
import type { Course, Traffic } from "./DraftGain.ts"
import type { DraftModel, ModelDrafter } from "./DraftModel.ts"
import * as DraftPlan from "./DraftPlan.ts"
import type { DraftOf, JobState, Received } from "./JobState.ts"
import type { DraftCount, PipelineStats } from "./PipelineHostProtocol.ts"
import type { JobTerms } from "./StageFrame.ts"

/** Represents who guesses. */
export interface Guessing {
  /** Whether anything is guessed. */
  readonly speculates: boolean
  readonly model?: DraftModel | undefined
}

/** Represents the guesses for one answer. */
export interface AnswerDrafts {
  /** Returns how to guess now; it stays so until the next `take`. */
  readonly course: (job: JobState, traffic: Traffic) => Course
  /** Returns where the drafts come from that the course wants. */
  readonly draftOf: (course: Course, traffic: Traffic) => DraftOf
  /** Windows wait for what the model guesses. */
  readonly waits: () => boolean
  /** Lets the model go on behind what is under way, or rest. */
  readonly lead: (job: JobState, count: number) => void
  /** Takes into account what the tail decided, which is known to the job. */
  readonly take: (received: Received, job: JobState, traffic: Traffic) => void
  /** Takes into account that the model computed for this answer. */
  readonly spend: (tookMs: number, traffic: Traffic) => void
  /** The next course is decided anew. */
  readonly reset: () => void
  readonly close: () => void
}

/** Represents the guesses of all answers. */
export interface JobDrafts {
  /** Begins with an answer; the number is that of no other one. */
  readonly open: (number: number, terms: JobTerms) => AnswerDrafts
  /** The model has something to compute. */
  readonly wants: () => boolean
  /** Returns the milliseconds of one token of the model; 0 where there is none. */
  readonly tokenMs: () => number
  /** Lets the model compute one decode within this time; returns the numbers of the answers that it was for. */
  readonly turn: (withinMs: number) => ReadonlyArray<number>
  readonly counts: () => Pick<PipelineStats, "lookup" | "model">
}

/** Returns the guesses of a pipeline without answers. */
export const make = (guessing: Guessing): JobDrafts => new Guesses(guessing)

// internal

class Guesses implements JobDrafts {
  readonly #counts: Record<Source, DraftCount> = { lookup: noDrafts, model: noDrafts }
  /** As the last answer that ended has learnt it. */
  #modelRight: number | undefined

  constructor(private readonly guessing: Guessing) {}

  open(number: number, terms: JobTerms): AnswerDrafts {
    const { model, speculates } = this.guessing
    const drafters = {
      lookup: speculates ? lookup : none,
      model: speculates ? model?.open(number, terms) : undefined,
      modelRight: this.#modelRight
    }
    return new Answer(drafters, {
      count: (by, count) => this.#count(by, count),
      learnt: (right) => {
        this.#modelRight = right
      }
    })
  }

  wants(): boolean {
    return this.guessing.model?.wants() ?? false
  }

  tokenMs(): number {
    return this.guessing.model?.tokenMs() ?? 0
  }

  turn(withinMs: number): ReadonlyArray<number> {
    return this.guessing.model?.turn(withinMs) ?? []
  }

  counts(): Pick<PipelineStats, "lookup" | "model"> {
    const { model } = this.guessing
    const { lookup } = this.#counts
    return model === undefined ? { lookup } : { lookup, model: { ...this.#counts.model, tokenMs: model.tokenMs() } }
  }

  #count(by: Source, { accepted, drafted }: DraftCount): void {
    const before = this.#counts[by]
    this.#counts[by] = { drafted: before.drafted + drafted, accepted: before.accepted + accepted }
  }
}

const noDrafts: DraftCount = { drafted: 0, accepted: 0 }

interface Told {
  readonly count: (by: Source, count: DraftCount) => void
  readonly learnt: (modelRight: number) => void
}

class Answer implements AnswerDrafts {
  readonly #plan: DraftPlan.DraftPlan
  readonly #lookup: Drafter
  readonly #model: ModelDrafter | undefined
  #course: Course | undefined

  constructor(
    drafters: DraftPlan.Drafters,
    private readonly told: Told
  ) {
    this.#plan = DraftPlan.make(drafters)
    this.#lookup = drafters.lookup
    this.#model = drafters.model
  }

  course(job: JobState, traffic: Traffic): Course {
    this.#course ??= this.#plan.decide(job.known(), traffic)
    return this.#course
  }

  draftOf(course: Course, traffic: Traffic): DraftOf {
    const model = this.#model
    if (course.by !== "model" || model === undefined)
      return (history, most) => this.#lookup.draft(history, most)?.tokens ?? []
    return (history, most, isBehind) => {
      const tokens = model.draft(history, most)?.tokens ?? []
      // Where others use the first stage there may be no time to guess in.
      const mayWait = isBehind || (course.waits && traffic.others === 0)
      return mayWait && tokens.length < most && model.goesOn() ? undefined : tokens
    }
  }

  waits(): boolean {
    return this.#course?.by === "model" && this.#course.waits
  }

  lead(job: JobState, count: number): void {
    this.#model?.lead(job.assumed(), count)
  }

  take({ accepted, answered, dropped, tokens }: Received, job: JobState, traffic: Traffic): void {
    if (answered === undefined) return
    if (answered.by !== undefined) this.told.count(answered.by, { drafted: answered.drafts, accepted })
    this.#plan.account(answered, tokens.length, dropped, traffic)
    if (tokens.length === 0) return
    this.#course = undefined
    const known = job.known()
    this.#plan.learn(known, known.length - tokens.length)
  }

  spend(tookMs: number, traffic: Traffic): void {
    if (this.#course?.by !== "model") this.#plan.spend(tookMs, traffic)
  }

  reset(): void {
    this.#course = undefined
  }

  close(): void {
    this.#model?.close()
    this.told.learnt(this.#plan.modelRight())
  }
}
