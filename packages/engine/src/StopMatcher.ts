/**
 * Ends an answer before the first of its stop strings. Text comes in pieces and a stop string may span them, so the
 * matcher holds back the longest end of the text that could still become one: fewer characters than the longest stop.
 */

/** Represents what one piece of text lets out. */
export interface StopStep {
  /** Text that is certain to be part of the answer. */
  readonly emit: string
  /** Whether a stop string was met: nothing follows. */
  readonly stopped: boolean
}

/** Represents the watch over one answer; it ends with `flush` or with the first step that says `stopped`. */
export interface StopMatcher {
  /** Returns what `text` lets out; after a stop always nothing. */
  readonly push: (text: string) => StopStep
  /** Returns what was held back, cut before a stop string that it holds in full. */
  readonly flush: () => StopStep
}

/**
 * Returns a matcher for `stops`. The stop string that begins first wins; the steps' texts joined are the whole text
 * cut before it, wherever the text was cut into pieces. Empty stops, and stops that no text can hold (lone
 * surrogates), are left out.
 */
export const make = (stops: ReadonlyArray<string>): StopMatcher => {
  const wanted = stops.filter((stop) => stop.length > 0 && stop.isWellFormed())
  const firstUnits = new Set(wanted.map((stop) => stop[0]))
  const lengthMax = wanted.reduce((most, stop) => Math.max(most, stop.length), 0)
  let held = ""
  let stopped = false

  const push = (text: string): StopStep => {
    if (stopped) return nothingMore
    const all = held + text
    const begin = firstBegin(all)
    const complete = firstComplete(all)
    if (complete <= begin && complete < all.length) return stop(all.slice(0, complete))
    held = all.slice(begin)
    return { emit: all.slice(0, begin), stopped: false }
  }

  const flush = (): StopStep => {
    if (stopped) return nothingMore
    const complete = firstComplete(held)
    if (complete < held.length) return stop(held.slice(0, complete))
    const emit = held
    held = ""
    return { emit, stopped: false }
  }

  const stop = (emit: string): StopStep => {
    stopped = true
    held = ""
    return { emit, stopped: true }
  }

  /** Returns where the first whole stop string begins; the length of `all` if there is none. */
  const firstComplete = (all: string): number =>
    wanted.reduce((first, stop) => {
      const at = all.indexOf(stop)
      return at === -1 ? first : Math.min(first, at)
    }, all.length)

  /** Returns where the longest end of `all` starts that is the beginning of a stop string; its length if none is. */
  const firstBegin = (all: string): number => {
    for (let at = Math.max(0, all.length - lengthMax + 1); at < all.length; at++) {
      if (!firstUnits.has(all[at])) continue
      const end = all.slice(at)
      if (wanted.some((stop) => stop.startsWith(end))) return at
    }
    return all.length
  }

  return { push, flush }
}

/** What every step after a stop gives. */
const nothingMore: StopStep = { emit: "", stopped: true }
