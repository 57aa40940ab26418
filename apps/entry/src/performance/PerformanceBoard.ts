/**
 * What an entry knows of how fast peers serve their models: what it measured itself, and apart from it what each other
 * entry told. Plain and owned by `Performance.ts`; takes `nowMs`. What is read often, one peer's figures, is kept until
 * it changes.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import type { AnswerSample } from "../http/AnswerSample.ts"
import * as State from "./PerformanceState.ts"

/** Represents the hour of one series. */
export interface Measured {
  readonly served: State.Served
  readonly hour: State.Hour
}

/** Peers × models × modes that an entry measures; with as many, new ones wait until old ones are an hour old. */
export const seriesMax = 4_096

/** Holds the hours of all series. */
export class PerformanceBoard {
  /** By mode and model, then by peer. */
  readonly #series = { solo: new Map<string, Peers>(), split: new Map<string, Peers>() }
  /** Series that were measured here. */
  #measured = 0

  /** Notes the sample of an answer; one of a new series is left out where there are `seriesMax`. */
  record(served: State.Served, sample: AnswerSample, nowMs: number): void {
    const known = this.#series[served.mode].get(served.model)?.get(served.peer)
    if (known?.own === undefined) {
      if (this.#measured >= seriesMax) return
      this.#measured++
    }
    const series = known ?? this.#add(served)
    series.own = State.record(State.expire(series.own ?? State.empty, nowMs), sample, nowMs)
    series.figures = undefined
  }

  /** Returns the last hour of one peer, by all entries; undefined where nothing was measured. */
  of({ mode, model, peer }: State.Served, nowMs: number): State.Figures | undefined {
    const series = this.#series[mode].get(model)?.get(peer)
    if (series === undefined) return undefined
    const step = Math.floor(nowMs / State.stepMs)
    if (series.figures?.step !== step)
      series.figures = { step, value: State.figuresOf(State.mergeAll(partsOf(series, nowMs))) }
    return series.figures.value
  }

  /** Returns the last hour of all peers of a model by all entries, or of it the steps from `fromMs` on. */
  ofModel(model: string, mode: State.Mode, nowMs: number, fromMs?: number): State.Figures | undefined {
    const peers = this.#series[mode].get(model)?.values() ?? []
    return State.figuresOf(State.mergeAll([...peers].flatMap((series) => partsOf(series, nowMs, fromMs))))
  }

  /** Returns what was measured here within the last hour. */
  own(nowMs: number): ReadonlyArray<Measured> {
    return [...this.#all()].flatMap(({ own, served }) => {
      const hour = own === undefined ? State.empty : State.expire(own, nowMs)
      return hour.steps.length === 0 ? [] : [{ served, hour }]
    })
  }

  /** Puts what the entry `origin` tells in the place of what it told before. */
  replace(origin: string, measured: ReadonlyArray<Measured>): void {
    for (const series of this.#all()) {
      if (series.others.delete(origin)) series.figures = undefined
    }
    for (const { hour, served } of measured) {
      const series = this.#series[served.mode].get(served.model)?.get(served.peer) ?? this.#add(served)
      series.others.set(origin, hour)
      series.figures = undefined
    }
  }

  /** Forgets what is older than an hour. */
  expire(nowMs: number): void {
    for (const series of this.#all()) {
      if (series.own !== undefined) {
        const left = State.expire(series.own, nowMs)
        if (left.steps.length === 0) this.#measured--
        series.own = left.steps.length === 0 ? undefined : left
      }
      for (const [origin, hour] of series.others) {
        const left = State.expire(hour, nowMs)
        if (left.steps.length === 0) series.others.delete(origin)
        else series.others.set(origin, left)
      }
      if (series.own === undefined && series.others.size === 0) this.#remove(series.served)
    }
  }

  *#all(): Iterable<Series> {
    for (const models of [this.#series.solo, this.#series.split]) {
      for (const peers of models.values()) yield* peers.values()
    }
  }

  #add(served: State.Served): Series {
    const series: Series = { served, own: undefined, others: new Map(), figures: undefined }
    const models = this.#series[served.mode]
    const peers: Peers = models.get(served.model) ?? new Map()
    models.set(served.model, peers.set(served.peer, series))
    return series
  }

  #remove({ mode, model, peer }: State.Served): void {
    const peers = this.#series[mode].get(model)
    peers?.delete(peer)
    if (peers?.size === 0) this.#series[mode].delete(model)
  }
}

// internal

type Peers = Map<PeerId, Series>

interface Series {
  readonly served: State.Served
  own: State.Hour | undefined
  /** What other entries told, by who did. */
  readonly others: Map<string, State.Hour>
  /** Made in this step; undefined where something came since. */
  figures: { readonly step: number; readonly value: State.Figures | undefined } | undefined
}

const partsOf = ({ others, own }: Series, nowMs: number, fromMs?: number): ReadonlyArray<State.Distribution> =>
  [...(own === undefined ? [] : [own]), ...others.values()].map((hour) =>
    State.since(State.expire(hour, nowMs), fromMs)
  )
