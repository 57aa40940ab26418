/** What a peer says of its own speed: what was measured last, kept over restarts, and said anew only where it moved. */
import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as LayerTimes from "@weft/engine/pipeline/LayerTimes"
import { Clock, Duration, Effect, FastCheck, Fiber, TestClock } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { virtualTime } from "../../support/virtualTime.ts"

const model = "a".repeat(64)
const make = (path?: string, threadsMax = 1) => LayerTimes.make({ path, threadsMax })

it.effect("a start's figure holds until answers are measured, and what cannot be is not taken", () =>
  Effect.gen(function* () {
    const times = yield* make()
    expect(yield* times.say(model)).toBeUndefined()
    for (const wrong of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e7]) times.note(model, wrong, "answers")
    expect(yield* times.say(model)).toBeUndefined()
    times.note(model, 9, "start")
    expect(yield* times.say(model)).toBe(9)
    times.note(model, 4, "answers")
    times.note(model, 50, "start")
    expect(yield* times.say(model)).toBe(4)
  })
)

it.effect("a change of more than a fifth is news, a minute after the last, and a smaller one never", () =>
  Effect.gen(function* () {
    const times = yield* make()
    times.note(model, 10, "answers")
    yield* times.changed
    yield* times.say(model)
    const waiting = yield* Effect.fork(times.changed)
    times.note(model, 11.9, "answers")
    yield* TestClock.adjust("1 hour")
    expect(yield* Fiber.poll(waiting)).toMatchObject({ _tag: "None" })
    expect(yield* times.say(model)).toBe(10)
    times.note(model, 12.1, "answers")
    yield* TestClock.adjust("5 seconds")
    yield* Fiber.join(waiting)
    expect(yield* times.say(model)).toBe(12.1)
    times.note(model, 30, "answers")
    const next = yield* Effect.fork(times.changed)
    yield* TestClock.adjust("55 seconds")
    expect(yield* Fiber.poll(next)).toMatchObject({ _tag: "None" })
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.join(next)
  })
)

it.prop(
  "whatever is measured, what is said twice in a row differs by more than a fifth and comes at most once a minute",
  FastCheck.array(FastCheck.tuple(FastCheck.double({ min: 0.1, max: 100, noNaN: true }), FastCheck.nat(40)), {
    minLength: 1,
    maxLength: 60
  }),
  (measured) =>
    virtualTime(
      Effect.gen(function* () {
        const times = yield* make()
        const said: Array<readonly [layerMs: number, atMs: number]> = []
        const saying = Effect.gen(function* () {
          yield* times.changed
          said.push([(yield* times.say(model)) ?? 0, yield* Clock.currentTimeMillis])
        })
        yield* Effect.forkScoped(Effect.forever(saying))
        for (const [layerMs, seconds] of measured) {
          times.note(model, layerMs, "answers")
          yield* Effect.sleep(Duration.seconds(seconds))
        }
        yield* Effect.sleep("5 minutes")
        for (const [index, [layerMs, atMs]] of said.slice(1).entries()) {
          const [before, beforeMs] = said[index] ?? [0, 0]
          expect(Math.abs(layerMs - before)).toBeGreaterThan(before * LayerTimes.changeMin)
          expect(atMs - beforeMs).toBeGreaterThanOrEqual(Duration.toMillis(LayerTimes.saidEvery))
        }
        // In the end the entry knows what holds.
        const [last] = measured.at(-1) ?? [0]
        const [known] = said.at(-1) ?? [0]
        expect(Math.abs(last - known)).toBeLessThanOrEqual(known * LayerTimes.changeMin)
      })
    ),
  { runs: 50 }
)

it.effect("figures are kept over restarts, for as many threads, and a file that is none counts as empty", () =>
  Effect.gen(function* () {
    const path = join(yield* directory, "layer-times.json")
    yield* Effect.scoped(Effect.map(make(path), (times) => times.note(model, 7, "answers")))
    yield* Effect.scoped(
      Effect.gen(function* () {
        const times = yield* make(path)
        times.note(model, 3, "start")
        expect(yield* times.say(model)).toBe(7)
        expect(yield* times.say("b".repeat(64))).toBeUndefined()
      })
    )
    expect(yield* Effect.scoped(Effect.flatMap(make(path, 2), (times) => times.say(model)))).toBeUndefined()
    writeFileSync(path, '{"version":1,"entries":[["x",-1]]}')
    expect(yield* Effect.scoped(Effect.flatMap(make(path), (times) => times.say(model)))).toBeUndefined()
  })
)
