/** Hours as columns: each figure in its hour, what is not there as null or nought, and never more than is shown. */
import { expect, test } from "bun:test"
import { hourMs, type ShareHour } from "@weft/entry/share/ShareState"
import { modelsShownMax } from "@weft/entry/status/StatusDocument"
import { historyOf, type MeasuredHour } from "@weft/entry/status/StatusHistory"

const nowMs = 1_000 * hourMs + 123_456
const at = (hoursAgo: number): number => (1_000 - hoursAgo) * hourMs

const measured = (hoursAgo: number, more: Partial<MeasuredHour> = {}): MeasuredHour => ({
  hourMs: at(hoursAgo),
  model: "m",
  mode: "solo",
  samples: 3,
  ttftMs: 100,
  tokensPerSecond: 20,
  ...more
})

const counted = (hoursAgo: number, servedBy: ShareHour["servedBy"], requests: number): ShareHour => ({
  hourMs: at(hoursAgo),
  model: "m",
  servedBy,
  requests,
  tokens: 1
})

test("figures stand in their hour, the one that is not over last; what is too old or to come is left out", () => {
  const rows = [measured(0), measured(2, { tokensPerSecond: null }), measured(3), measured(4), measured(-1)]
  const requests = [counted(1, "mesh", 5), counted(1, "fallback", 2), counted(0, "refused", 1), counted(9, "mesh", 99)]
  expect(historyOf(rows, requests, 4, nowMs)).toEqual({
    fromMs: at(3),
    hours: 4,
    models: [
      {
        id: "m",
        ttftMs: [100, 100, null, 100],
        tokensPerSecond: [20, null, null, 20],
        mesh: [0, 0, 5, 0],
        fallback: [0, 0, 2, 0],
        refused: [0, 0, 0, 1]
      }
    ]
  })
})

test("of an hour in which a model was served whole and split, the mode with more answers is shown", () => {
  const rows = [measured(0, { samples: 2, ttftMs: 1 }), measured(0, { mode: "split", samples: 9, ttftMs: 2 })]
  for (const order of [rows, rows.toReversed()]) {
    expect(historyOf(order, [], 1, nowMs).models[0]?.ttftMs).toEqual([2])
  }
})

test("more models than are shown are left out", () => {
  const rows = Array.from({ length: modelsShownMax + 3 }, (_, index) => measured(0, { model: `m${index}` }))
  expect(historyOf(rows, [], 1, nowMs).models).toHaveLength(modelsShownMax)
})
