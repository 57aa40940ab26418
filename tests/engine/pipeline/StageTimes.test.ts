/** What one row takes in a layer: the median of turns that can have computed nothing else. */
import { expect, test } from "bun:test"
import { StageTimes } from "@weft/engine/pipeline/StageTimes"

test("turns of one row count, those with prompts, with several windows or with none do not", () => {
  const times = new StageTimes(4)
  expect(times.msPerLayer()).toBeNull()
  times.turned(9)
  times.sent(2)
  times.turned(9)
  times.sent(1)
  times.sent(1)
  times.turned(9)
  times.sent(1)
  times.sent(2)
  times.turned(9)
  expect(times.msPerLayer()).toBeNull()
  for (const seconds of [0.008, 0.5, 0.004]) {
    times.sent(1)
    times.turned(seconds)
  }
  expect(times.msPerLayer()).toBe(2)
})

test("old turns are forgotten", () => {
  const times = new StageTimes(1)
  for (let turn = 0; turn < 64; turn++) {
    times.sent(1)
    times.turned(turn < 32 ? 1 : 0.001)
  }
  expect(times.msPerLayer()).toBe(1)
})
