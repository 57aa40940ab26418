/**
 * The answers of a pipeline and the turns that drive them. A turn hands the windows that may be sent to the first
 * stage, which is in this process, computes one decode of it, and gives out the frames for the stages behind; what the
 * tail decides comes in between turns and becomes events. Answers beyond the slots wait in order, and all wait while
 * the pipeline is down. What is guessed ahead by a model is guessed when the first stage has nothing to do. All calls
 * are synchronous and belong to the host's one thread.
 */
import type { KeyedEvent, PreparedRequest } from "../BatchLoop.ts"
import * as EngineAnswer from "../EngineAnswer.ts"
import type { GenerateEvent, GenerateFailure } from "../Generation.ts"
import type { Traffic } from "./DraftGain.ts"
import * as JobDrafts from "./JobDrafts.ts"
import * as JobState from "./JobState.ts"
import { LoopMeter } from "./LoopMeter.ts"
import * as LoopTime from "./LoopTime.ts"
import type { PipelineFault, PipelineStats } from "./PipelineHostProtocol.ts"
import type { Failed, JobTerms, StageFrame, Tokens } from "./StageFrame.ts"
import type { StageLoop } from "./StageLoop.ts"
import { StageTimes } from "./StageTimes.ts"
import { StallWatch } from "./StallWatch.ts"

/** Represents what the answers of a pipeline are made with. */
export interface PipelineJobsOptions {
  readonly loop: StageLoop
  readonly text: EngineAnswer.AnswerText
  readonly slots: number
  /** Cells of a slot of every stage. */
  readonly contextTokens: number
  /** Time without a word of any stage, after which a job's window counts as lost. */
  readonly stallMs: number
  readonly guessing: JobDrafts.Guessing
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number
}

/** Represents what came of a turn. */
export interface PipelineTurn {
  readonly events: ReadonlyArray<KeyedEvent>
  /** For the next stage; hidden states in them hold until the next turn. */
  readonly frames: ReadonlyArray<StageFrame>
  readonly faults: ReadonlyArray<PipelineFault>
  /** Absent where nothing was computed. */
  readonly decodeSeconds: number | undefined
}

/** Represents the answers of a pipeline. */
export interface PipelineJobs {
  /** The next turn would do nothing, unless something comes in before it. */
  readonly idle: () => boolean
  /** Puts a request at the end of the queue; its prompt is shorter than the context. */
  readonly submit: (key: number, prepared: PreparedRequest) => void
  /** Drops an answer and frees its slot on all stages; nothing happens where it has ended. */
  readonly cancel: (key: number) => void
  /** The pipeline is up under this number: all answers begin there anew. An older number is of no effect. */
  readonly connect: (epoch: number) => void
  /** The pipeline is down: answers wait. */
  readonly disconnect: () => void
  /** Takes a frame of a later stage; what is stale is dropped. */
  readonly receive: (frame: Tokens | Failed) => void
  /**
   * Looks for windows that nothing was heard of for too long; the fault comes with the next turn, once an epoch. Where
   * a later stage says that it works they are waited for, but not for ever: it may lie.
   */
  readonly look: (isWorking: boolean) => void
  readonly turn: () => PipelineTurn
  /** Lets the draft model compute a decode, if the first stage has nothing to do; the next turn sends what it gave. */
  readonly guess: () => void
  readonly stats: () => PipelineStats
}

/** Returns the answers of a pipeline that is down, none yet. */
export const make = (options: PipelineJobsOptions): PipelineJobs => new Jobs(options)

// internal

/** Refusals by stages after which an answer is given up, if none of its tokens came in between: another peer's turn. */
const refusalsMax = 3
/** A u32 names a job. */
const jobsMax = 2 ** 32

interface Job {
  readonly key: number
  readonly number: number
  readonly prepared: PreparedRequest
  readonly answer: EngineAnswer.EngineAnswer
  readonly state: JobState.JobState
  readonly drafts: JobDrafts.AnswerDrafts
  /** It is open on the stages of this epoch. */
  isOpen: boolean
  refusals: number
  /** Windows that the first stage has not given out yet. */
  atHome: number
  /** When something of it last came in or went out. */
  movedMs: number
}

class Jobs implements PipelineJobs {
  /** Oldest first. */
  readonly #waiting = new Map<number, PreparedRequest>()
  /** Those that hold a slot, by their number. */
  readonly #jobs = new Map<number, Job>()
  #jobNext = 0
  #epoch = 0
  #isConnected = false
  readonly #stall: StallWatch
  readonly #meter = new LoopMeter()
  /** Of the first stage as if it were one layer. */
  readonly #times = new StageTimes(1)
  readonly #drafts: JobDrafts.JobDrafts
  /** The draft model computed since the last turn. */
  #isGuessed = false
  #events: Array<KeyedEvent> = []
  #faults: Array<PipelineFault> = []

  constructor(private readonly options: PipelineJobsOptions) {
    this.#drafts = JobDrafts.make(options.guessing)
    this.#stall = new StallWatch(options.stallMs)
  }

  idle(): boolean {
    const isTold = this.#events.length === 0 && this.#faults.length === 0
    return this.options.loop.idle() && isTold && !this.#mayAdmit() && !this.#isGuessed && !this.#mayGuess()
  }

  submit(key: number, prepared: PreparedRequest): void {
    this.#waiting.set(key, prepared)
  }

  cancel(key: number): void {
    this.#waiting.delete(key)
    this.#events = this.#events.filter(([of]) => of !== key)
    const job = this.#jobs.values().find((one) => one.key === key)
    if (job !== undefined) this.#end(job)
  }

  connect(epoch: number): void {
    if (epoch <= this.#epoch) return
    this.#epoch = epoch
    this.#isConnected = true
    this.#stall.begin()
    this.#meter.begin()
    for (const job of this.#jobs.values()) this.#open(job)
  }

  disconnect(): void {
    for (const job of this.#jobs.values()) this.#close(job)
    this.#isConnected = false
  }

  receive(frame: Tokens | Failed): void {
    const job = this.#jobs.get(frame.job)
    if (!this.#isConnected || frame.epoch !== this.#epoch || job?.isOpen !== true) return
    if (frame.kind === "failed") this.#refused(job, "refusal", frame.reason)
    else this.#take(job, frame)
  }

  look(isWorking: boolean): void {
    const nowMs = this.options.now()
    if (isWorking) this.#stall.worked(nowMs)
    if (!this.#isConnected) return
    const underWay = this.#jobs.values().filter(({ atHome, state }) => atHome === 0 && state.rowsUnderWay() > 0)
    const windows = [...underWay].map(({ movedMs, state }) => ({ rows: state.rowsUnderWay(), movedMs }))
    const reason = this.#stall.look(windows, this.#meter.time(), nowMs)
    if (reason !== undefined) this.#fault("silence", reason)
  }

  turn(): PipelineTurn {
    this.#isGuessed = false
    this.#admit()
    for (const job of this.#jobs.values()) this.#send(job)
    const { loop, now } = this.options
    const computes = loop.waiting() > 0
    const startedMs = now()
    const given = loop.turn()
    const tookMs = now() - startedMs
    for (const frame of given) {
      if (frame.kind === "window") this.#times.sent(frame.tokens.length)
      this.#give(frame, tookMs)
    }
    if (computes) this.#times.turned(tookMs / 1000)
    const frames = given.filter(({ epoch }) => this.#isConnected && epoch === this.#epoch).filter(isForStages)
    const turn = { frames, events: this.#events, faults: this.#faults }
    this.#events = []
    this.#faults = []
    return { ...turn, decodeSeconds: computes ? tookMs / 1000 : undefined }
  }

  guess(): void {
    const { loop, now } = this.options
    if (loop.waiting() > 0 || !this.#mayGuess()) return
    const startedMs = now()
    const numbers = this.#drafts.turn(this.#guessMs())
    const endedMs = now()
    this.#meter.heldUp(endedMs)
    this.#isGuessed = true
    for (const number of numbers) this.#jobs.get(number)?.drafts.spend(endedMs - startedMs, this.#traffic())
  }

  stats(): PipelineStats {
    const loop = this.#meter.time()
    const loopMs = LoopTime.oneRowMs(loop)
    const rowMs = this.#times.msPerLayer()
    return {
      ...(loopMs === undefined ? {} : { loopMs }),
      ...(rowMs === null ? {} : { rowMs }),
      ownMs: loop.ownMs,
      ...this.#drafts.counts()
    }
  }

  #mayGuess(): boolean {
    return this.#drafts.wants() && this.#guessMs() >= this.#drafts.tokenMs()
  }

  /** Returns how long the draft model may compute without that a window which is due waits for it. */
  #guessMs(): number {
    const oneMs = LoopTime.oneRowMs(this.#meter.time())
    if (oneMs === undefined) return this.#isAnswering() ? 0 : Number.POSITIVE_INFINITY
    const dueMs = this.#jobs.values().map(({ drafts, state }) => {
      const sentMs = drafts.waits() ? undefined : state.sentMs()
      return sentMs === undefined ? Number.POSITIVE_INFINITY : sentMs + oneMs
    })
    return Math.min(...dueMs) - this.options.now()
  }

  /** Somebody waits for more than a first token. */
  #isAnswering(): boolean {
    return this.#jobs.values().some(({ prepared, state }) => state.known().length > prepared.prompt.length)
  }

  #mayAdmit(): boolean {
    return this.#isConnected && this.#waiting.size > 0 && this.#jobs.size < this.options.slots
  }

  #admit(): void {
    for (const [key, prepared] of this.#waiting) {
      if (!this.#mayAdmit()) return
      this.#waiting.delete(key)
      const job = this.#jobOf(key, prepared)
      const begun = job.answer.begin()
      const last = begun.at(-1)?._tag
      if (last !== "Failed")
        this.#tell(job, { _tag: "Started", promptTokens: prepared.prompt.length, seed: prepared.seed })
      for (const event of begun) this.#tell(job, event)
      if (last === "Failed" || last === "Finished") job.drafts.close()
      if (last === "Failed" || last === "Finished") continue
      this.#jobs.set(job.number, job)
      this.#open(job)
    }
  }

  #jobOf(key: number, prepared: PreparedRequest): Job {
    const { contextTokens, text } = this.options
    const { prompt, request } = prepared
    const answer = EngineAnswer.make(text, {
      request,
      promptTokens: prompt.length,
      contextTokens,
      cachedTokens: () => 0
    })
    const resumed = request.resume?.tokens.slice(0, answer.tokensMax) ?? []
    const { vocabularyTokens } = text
    const state = JobState.make({ prompt, resumed, tokensMax: answer.tokensMax, vocabularyTokens })
    this.#jobNext = (this.#jobNext + 1) % jobsMax
    const number = this.#jobNext
    const drafts = this.#drafts.open(number, termsOf(prepared, answer))
    return { key, number, prepared, answer, state, drafts, isOpen: false, refusals: 0, atHome: 0, movedMs: 0 }
  }

  #tell({ key }: Job, event: GenerateEvent): void {
    this.#events.push([key, event])
  }

  #fault(kind: PipelineFault["kind"], reason: string): void {
    this.#faults.push({ epoch: this.#epoch, kind, reason: reason.slice(0, reasonCharactersMax) })
  }

  /** Opens a job on all stages of this epoch, from its beginning. */
  #open(job: Job): void {
    const name = { epoch: this.#epoch, job: job.number }
    job.isOpen = true
    job.atHome = 0
    job.drafts.reset()
    job.movedMs = this.options.now()
    job.state.begin(name)
    this.options.loop.submit({ kind: "open", ...name, terms: termsOf(job.prepared, job.answer) })
  }

  /** Frees the slot of a job on all stages; it may be opened again. */
  #close(job: Job): void {
    job.state.pause()
    if (job.isOpen) this.options.loop.submit({ kind: "close", epoch: this.#epoch, job: job.number })
    job.isOpen = false
  }

  #end(job: Job): void {
    this.#close(job)
    job.drafts.close()
    this.#jobs.delete(job.number)
  }

  #traffic(): Traffic {
    return { loop: this.#meter.time(), others: this.#jobs.size - 1 }
  }

  /** Hands the windows that may be sent to the first stage. */
  #send(job: Job): void {
    const { drafts, state } = job
    if (!job.isOpen) {
      drafts.lead(state, 0)
      return
    }
    const { loop, now } = this.options
    const traffic = this.#traffic()
    const course = drafts.course(state, traffic)
    const draft = drafts.draftOf(course, traffic)
    const next = () => state.next(now(), course, draft)
    for (let window = next(); window !== undefined; window = next()) {
      loop.submit(window)
      job.atHome++
    }
    drafts.lead(state, course.lead)
  }

  /** Takes note of a frame that the first stage gives out. */
  #give(frame: StageFrame, tookMs: number): void {
    const job = this.#jobs.get(frame.job)
    if (frame.kind === "failed" || frame.kind === "tokens") this.receive(frame)
    if (frame.kind !== "window" || job === undefined) return
    job.movedMs = this.options.now()
    job.atHome--
    const promptTokens = job.prepared.prompt.length
    if (frame.position >= promptTokens) this.#meter.tookOwn(tookMs)
  }

  #take(job: Job, frame: Tokens): void {
    const nowMs = this.options.now()
    const received = job.state.received(frame, nowMs)
    const { answered, dropped, fault, tokens } = received
    if (fault !== undefined) this.#refused(job, "tail", `the last stage gave out ${fault}`)
    if (answered === undefined) return
    job.movedMs = nowMs
    // The stage drops them when the next one comes.
    if (dropped > 0) job.atHome = 0
    this.#meter.took(answered, nowMs)
    job.drafts.take(received, job.state, this.#traffic())
    if (tokens.length === 0) return
    job.refusals = 0
    const events = eventsOf(job.answer, tokens)
    for (const event of events) this.#tell(job, event)
    if (events.at(-1)?._tag === "Finished") this.#end(job)
  }

  /** A stage does not go on with a job: it waits for the pipeline to be made again, or is given up. */
  #refused(job: Job, kind: PipelineFault["kind"], reason: string): void {
    this.#close(job)
    this.#fault(kind, reason)
    if (++job.refusals < refusalsMax) return
    this.#tell(job, { _tag: "Failed", failure: refusedTooOften })
    this.#end(job)
  }
}

/**
 * Returns the events of tokens up to the answer's end, their deltas as one; what was decided behind it is of no use.
 */
const eventsOf = (answer: EngineAnswer.EngineAnswer, tokens: ReadonlyArray<number>): ReadonlyArray<GenerateEvent> => {
  let text = ""
  const taken: Array<number> = []
  for (const token of tokens) {
    for (const event of answer.add(token)) {
      if (event._tag !== "Delta") return text === "" && taken.length === 0 ? [event] : [delta(text, taken), event]
      text += event.text
      taken.push(...event.tokens)
    }
  }
  return [delta(text, taken)]
}

const delta = (text: string, tokens: ReadonlyArray<number>): GenerateEvent => ({ _tag: "Delta", text, tokens })

/** Most characters of a reason: the bound of its schema. */
const reasonCharactersMax = 1024

const termsOf = ({ prompt, request, seed }: PreparedRequest, { tokensMax }: EngineAnswer.EngineAnswer): JobTerms => {
  const promptTokens = prompt.length
  return { seed, sampling: request.sampling, promptTokens, contextTokens: promptTokens + tokensMax }
}

const isForStages = ({ kind }: StageFrame): boolean => kind !== "tokens" && kind !== "failed"

const refusedTooOften: GenerateFailure = {
  code: "engine_lost",
  message: "Stages of the pipeline refused this answer again and again. Send the request again."
}
