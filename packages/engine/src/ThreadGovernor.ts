/**
 * How many threads the next decode gets, as a pure state machine that is told how long each took. ggml's barriers
 * spin: a neighbour that takes one of the cores in use makes a decode a hundred times slower, not twice. So more
 * threads are only ever tried under a deadline that one thread would keep, they stay only where they are clearly
 * faster, and whatever goes wrong leads back to one thread at once.
 */

/** Times of a thread count are kept by powers of two of the rows: 2^13 rows are more than any decode has. */
const shapes = 14
/** A decode that takes this many times what one thread needs is given up: a stolen core costs far more. */
const deadlineFactor = 3
/** More threads stay where they need at most this part of the time: less is not worth a core. */
const keptShare = 0.85
/** Decodes before a time is believed, and of a trial: enough for a median against one hiccup. */
const samplesMin = 5
/** Decodes in a row that are no faster than one thread before more threads are taken back. */
const slowMax = 8
/** First and longest pause before more threads are tried again; each failure doubles it. */
const pauseMinMs = 1_000
const pauseMaxMs = 300_000
/** Time without trouble after which the pause is short again: longer than the pauses that short troubles cause. */
const calmMs = 30_000
/** Weight of the newest of times that drift, as they do with the length of the context. */
const driftWeight = 0.2

/** Represents times of decodes of about the same number of rows. */
export interface Timing {
  readonly ms: number
  readonly samples: number
}

/** Represents the state between two decodes. */
export interface ThreadGovernor {
  readonly threadsMax: number
  readonly threads: number
  /** One thread, by shape. */
  readonly base: ReadonlyArray<Timing | undefined>
  /** The present threads, by shape. */
  readonly usual: ReadonlyArray<Timing | undefined>
  readonly trial: { readonly threads: number; readonly shape: number; readonly ms: ReadonlyArray<number> } | undefined
  readonly slow: number
  readonly triesAgainAtMs: number
  readonly pauseMs: number
  readonly troubleAtMs: number
  /** Why `threads` are as many as they are, for the owner. */
  readonly why: string
}

/** Represents how the next decode is to be computed. */
export interface Order {
  readonly threads: number
  /** Time after which it is given up; none for one thread. */
  readonly deadlineMs: number | undefined
}

/** Represents how a decode went. */
export interface Observation {
  readonly rows: number
  readonly threads: number
  readonly tookMs: number
  readonly givenUp: boolean
}

/** Returns the state of a host that is to use at most `threadsMax` threads; `known` is what an earlier one learnt. */
export const make = (
  threadsMax: number,
  known?: { readonly threads: number; readonly oneRowMs: number }
): ThreadGovernor => {
  const none: ThreadGovernor["base"] = Array.from({ length: shapes }, () => undefined)
  const base = known === undefined ? none : none.with(0, { ms: known.oneRowMs, samples: samplesMin })
  const threads = Math.min(threadsMax, known?.threads ?? 1)
  const why = threadsMax === 1 ? "one core, or one thread asked for" : "nothing measured yet"
  return {
    threadsMax,
    threads,
    base,
    usual: threads === 1 ? base : none,
    trial: undefined,
    slow: 0,
    triesAgainAtMs: 0,
    pauseMs: pauseMinMs,
    troubleAtMs: 0,
    why: known === undefined ? why : `${threads} of at most ${threadsMax}, as measured at an earlier start`
  }
}

/** Returns whether there is nothing to try for now. */
export const isSettled = (state: ThreadGovernor, nowMs: number): boolean =>
  state.trial === undefined && (state.threads === state.threadsMax || nowMs < state.triesAgainAtMs)

/** Returns what the next decode of `rows` rows gets. */
export const order = (state: ThreadGovernor, rows: number, nowMs: number): Order => {
  const shape = shapeOf(rows)
  const oneThreadMs = expected(state.base, shape)
  const threads = isTried(state, shape, nowMs) ? (state.trial?.threads ?? nextUp(state)) : state.threads
  return oneThreadMs === undefined || threads === 1
    ? { threads: 1, deadlineMs: undefined }
    : { threads, deadlineMs: oneThreadMs * deadlineFactor }
}

/** Returns the state after a decode. */
export const observe = (state: ThreadGovernor, seen: Observation, nowMs: number): ThreadGovernor => {
  const shape = shapeOf(seen.rows)
  if (seen.givenUp) return fallBack(state, nowMs, `${seen.threads} threads missed the deadline: a core is taken`)
  const timed = seen.threads === 1 ? { ...state, base: noted(state.base, shape, seen.tookMs) } : state
  if (seen.threads > state.threads) return tried(timed, shape, seen, nowMs)
  if (seen.threads < state.threads) return timed
  return settled({ ...timed, usual: noted(timed.usual, shape, seen.tookMs) }, shape, seen, nowMs)
}

// internal

const shapeOf = (rows: number): number => Math.min(shapes - 1, Math.ceil(Math.log2(Math.max(1, rows))))

const nextUp = ({ threads, threadsMax }: ThreadGovernor): number => Math.min(threads * 2, threadsMax)

/** Returns the time to expect: the shape's own, or at most twice as much for each doubling of the rows. */
const expected = (times: ThreadGovernor["base"], shape: number): number | undefined => {
  for (let lower = shape; lower >= 0; lower--) {
    const timing = times[lower]
    if (timing !== undefined) return timing.ms * 2 ** (shape - lower)
  }
  return undefined
}

const isTried = (state: ThreadGovernor, shape: number, nowMs: number): boolean => {
  if (state.trial !== undefined) return state.trial.shape === shape
  if (state.threads >= state.threadsMax || nowMs < state.triesAgainAtMs) return false
  return (state.usual[shape]?.samples ?? 0) >= samplesMin && state.base[shape] !== undefined
}

const noted = (times: ThreadGovernor["base"], shape: number, ms: number): ThreadGovernor["base"] => {
  const old = times[shape]
  if (old === undefined) return times.with(shape, { ms, samples: 1 })
  return times.with(shape, { ms: old.ms + (ms - old.ms) * driftWeight, samples: old.samples + 1 })
}

/** Takes a decode with more threads into account; after enough of them the trial is decided. */
const tried = (state: ThreadGovernor, shape: number, seen: Observation, nowMs: number): ThreadGovernor => {
  const ms = [...(state.trial?.ms ?? []), seen.tookMs]
  if (ms.length < samplesMin) return { ...state, trial: { threads: seen.threads, shape, ms } }
  const middle = ms.toSorted((a, b) => a - b)[samplesMin >> 1] ?? 0
  const before = state.usual[shape]?.ms ?? 0
  const figures = `${middle.toFixed(1)} ms against ${before.toFixed(1)} ms with ${state.threads}`
  if (middle > before * keptShare) {
    const why = `${seen.threads} threads are not faster: ${figures}`
    return { ...paused(state, nowMs), trial: undefined, why }
  }
  const usual = state.usual.map((_, at) => (at === shape ? { ms: middle, samples: samplesMin } : undefined))
  const why = `${seen.threads} threads are faster: ${figures}`
  return { ...state, threads: seen.threads, usual, trial: undefined, slow: 0, why }
}

/** Takes a decode with the present threads into account: they must stay faster than one. */
const settled = (state: ThreadGovernor, shape: number, seen: Observation, nowMs: number): ThreadGovernor => {
  const pauseMs = nowMs - state.troubleAtMs > calmMs ? pauseMinMs : state.pauseMs
  if (state.threads === 1) return state.pauseMs === pauseMs ? state : { ...state, pauseMs }
  const oneThreadMs = state.base[shape]?.ms
  const slow = oneThreadMs !== undefined && seen.tookMs > oneThreadMs * keptShare ? state.slow + 1 : 0
  if (slow < slowMax) return { ...state, slow, pauseMs }
  return fallBack(state, nowMs, `${seen.threads} threads were no faster than one any more`)
}

const paused = (state: ThreadGovernor, nowMs: number): ThreadGovernor => ({
  ...state,
  triesAgainAtMs: nowMs + state.pauseMs,
  pauseMs: Math.min(state.pauseMs * 2, pauseMaxMs),
  troubleAtMs: nowMs
})

const fallBack = (state: ThreadGovernor, nowMs: number, why: string): ThreadGovernor =>
  state.threads === 1 && state.trial !== undefined
    ? { ...paused(state, nowMs), trial: undefined, why }
    : { ...paused(state, nowMs), threads: 1, usual: state.base, trial: undefined, slow: 0, why }
