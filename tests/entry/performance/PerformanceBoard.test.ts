/** The board of an entry: own samples and other entries' apart, bounds, and what it takes to keep up with many. */
import { expect } from "bun:test"
import { type Measured, PerformanceBoard, seriesMax } from "@weft/entry/performance/PerformanceBoard"
import * as State from "@weft/entry/performance/PerformanceState"
import { fromPublicKey } from "@weft/mesh/PeerId"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"

const nowMs = 1_700_000_000_000
const peerOf = (index: number) => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(0, index)
  return fromPublicKey(key)
}
const peer = peerOf(1)
const solo = { peer, model: "tiny", mode: "solo" } as const
const sample = { ttftMs: 100, tokensPerSecond: 20 }
const told = (served: State.Served, samples: number, ttftMs = 100): Measured => ({
  served,
  hour: Array.from({ length: samples }).reduce<State.Hour>(
    (hour) => State.record(hour, { ...sample, ttftMs }, nowMs),
    State.empty
  )
})

it.effect("a peer's figures are its own: by model and by mode; a model's are those of all its peers", () =>
  Effect.sync(() => {
    const board = new PerformanceBoard()
    board.record(solo, sample, nowMs)
    board.record({ ...solo, mode: "split" }, sample, nowMs)
    board.record({ ...solo, peer: peerOf(2) }, sample, nowMs)
    expect(board.of(solo, nowMs)?.samples).toBe(1)
    expect(board.of({ ...solo, model: "other" }, nowMs)).toBeUndefined()
    expect(board.ofModel("tiny", "solo", nowMs)?.samples).toBe(2)
    expect(board.ofModel("tiny", "split", nowMs)?.samples).toBe(1)
    expect(board.ofModel("other", "solo", nowMs)).toBeUndefined()
  })
)

it.effect("what was read before is told anew once something came, or grew old", () =>
  Effect.sync(() => {
    const board = new PerformanceBoard()
    for (const samples of [1, 2, 3]) {
      board.record(solo, sample, nowMs)
      expect(board.of(solo, nowMs)?.samples).toBe(samples)
    }
    expect(board.of(solo, nowMs + State.hourMs + State.stepMs)).toBeUndefined()
    board.expire(nowMs + State.hourMs + State.stepMs)
    expect(board.own(nowMs)).toEqual([])
  })
)

it.effect("what another entry tells takes the place of what it told before, however often: nothing counts twice", () =>
  Effect.sync(() => {
    const board = new PerformanceBoard()
    board.record(solo, sample, nowMs)
    for (let times = 0; times < 3; times++) {
      board.replace("a", [told(solo, 5)])
      board.replace("b", [told(solo, 7), told({ ...solo, peer: peerOf(2) }, 1)])
    }
    expect(board.of(solo, nowMs)?.samples).toBe(13)
    expect(board.ofModel("tiny", "solo", nowMs)?.samples).toBe(14)
    // what is told on is what was measured here, or it would come back
    expect(board.own(nowMs)).toHaveLength(1)
    expect(State.figuresOf(board.own(nowMs)[0]?.hour.all ?? State.nothing)?.samples).toBe(1)
    board.replace("b", [])
    expect(board.ofModel("tiny", "solo", nowMs)?.samples).toBe(6)
    board.expire(nowMs + State.hourMs + State.stepMs)
    expect(board.ofModel("tiny", "solo", nowMs)).toBeUndefined()
  })
)

it.effect("series are bounded: one too many waits until an old one is forgotten", () =>
  Effect.sync(() => {
    const board = new PerformanceBoard()
    const served = (index: number): State.Served => ({ ...solo, model: `model ${index}` })
    for (let index = 0; index <= seriesMax; index++) board.record(served(index), sample, nowMs)
    expect(board.own(nowMs)).toHaveLength(seriesMax)
    expect(board.of(served(seriesMax), nowMs)).toBeUndefined()
    const laterMs = nowMs + State.hourMs + State.stepMs
    board.expire(laterMs)
    board.record(served(seriesMax), sample, laterMs)
    expect(board.own(laterMs)).toHaveLength(1)
  })
)

it.effect(
  "two hours of samples from 500 peers hold no more than the steps of one, and cost less time than a core has",
  () =>
    Effect.sync(() => {
      const board = new PerformanceBoard()
      const peers = Array.from({ length: 500 }, (_, index) => peerOf(index))
      const minutes = 130
      const perMinute = 1_500
      let at = 0
      let seed = 7
      const noise = () => {
        seed = (seed * 48_271) % 2_147_483_647
        return seed / 2_147_483_647
      }
      const startedMs = Bun.nanoseconds() / 1e6
      for (let minute = 0; minute < minutes; minute++) {
        at = nowMs + minute * 60_000
        board.expire(at)
        for (let index = 0; index < perMinute; index++) {
          const served = { peer: peers[index % 500] ?? peer, model: `model ${index % 20}`, mode: "solo" } as const
          board.record(served, { ttftMs: 50 + 400 * noise(), tokensPerSecond: 5 + 30 * noise() }, at)
        }
      }
      const seconds = (Bun.nanoseconds() / 1e6 - startedMs) / 1_000
      // 195,000 samples are what comes in 39 s of 5,000 a second: a core that needs longer could not keep up
      expect(seconds).toBeLessThan((minutes * perMinute) / 5_000)
      const own = board.own(at)
      expect(own).toHaveLength(500)
      expect(Math.max(...own.map(({ hour }) => hour.steps.length))).toBeLessThanOrEqual(13)
      const samples = own.reduce((sum, { hour }) => sum + (State.figuresOf(hour.all)?.samples ?? 0), 0)
      expect(samples).toBeGreaterThanOrEqual(60 * perMinute)
      expect(samples).toBeLessThanOrEqual(66 * perMinute)
    })
)
