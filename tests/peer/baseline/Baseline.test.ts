/** Measuring beside answering: with engines that speak by script on virtual time, then with the real one. */
import { expect } from "bun:test"
import { FileSystem, Error as PlatformError } from "@effect/platform"
import { BunContext } from "@effect/platform-bun"
import type { WholeEngine } from "@weft/engine/EngineSupervisor"
import { NativeFigures } from "@weft/mesh/ModelDescription"
import { Answers } from "@weft/peer/Answers"
import * as Baseline from "@weft/peer/baseline/Baseline"
import * as BaselineFile from "@weft/peer/baseline/BaselineFile"
import * as Engines from "@weft/peer/Engines"
import { Splits } from "@weft/peer/Splits"
import { Effect, Layer, Schema } from "effect"
import { makeEngine } from "../../engine/asking.ts"
import { delta, failed, finished, type Scripted, scripted, started, type Teller } from "../../engine/scripted.ts"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { virtualTime } from "../../support/virtualTime.ts"

const story = (teller: Teller) =>
  Effect.gen(function* () {
    yield* teller.offer(started)
    yield* Effect.sleep("200 millis")
    yield* teller.offer(delta("once"))
    for (let token = 1; token <= 10; token++) {
      yield* Effect.sleep("100 millis")
      yield* teller.offer(delta(" more", token))
    }
    yield* teller.offer(finished(11))
  })

const path = "baseline.json"

interface World {
  readonly engine: WholeEngine
  readonly engines: typeof Engines.Engines.Service
  /** Says that a request came, and that it is over. */
  readonly ask: Effect.Effect<void>
  readonly leave: Effect.Effect<void>
}

/** Answers of which the test says when one is under way. */
const answersByHand = Effect.map(Effect.makeLatch(false), (latch) => {
  let active = 0
  return {
    ask: Effect.suspend(() => {
      active++
      return latch.open
    }),
    leave: Effect.suspend(() => {
      active--
      return latch.close
    }),
    service: Answers.of({
      serve: () => {},
      counts: Effect.sync(() => ({ active, finished: 0, failed: 0, cancelled: 0 })),
      drain: Effect.void,
      isDraining: () => false,
      busy: latch.await
    })
  }
})

/** Files of a disk that takes no time, or virtual time would pass meanwhile. */
const disk = () => {
  const files = new Map<string, string>()
  return FileSystem.layerNoop({
    readFileString: (path) =>
      Effect.mapError(
        Effect.fromNullable(files.get(path)),
        () => new PlatformError.SystemError({ reason: "NotFound", module: "FileSystem", method: "readFileString" })
      ),
    writeFileString: (path, text) => Effect.sync(() => void files.set(path, text))
  })
}

/** Runs `body` beside a baseline of one scripted engine. */
const world = <A, E>(
  script: Scripted,
  body: (world: World) => Effect.Effect<A, E, FileSystem.FileSystem>,
  options: { readonly disk?: ReturnType<typeof disk>; readonly setup?: string } = {}
) =>
  Effect.gen(function* () {
    const plain = yield* script.engine
    const setup = Effect.succeed(options.setup ?? "a")
    const engine: WholeEngine = { ...plain, setup, hostProcessId: Effect.succeed(undefined) }
    const engines = yield* Engines.make([engine])
    const { ask, leave, service } = yield* answersByHand
    yield* Baseline.layer({ path }).pipe(
      Layer.provide(Layer.succeed(Engines.Engines, engines)),
      Layer.provide(Layer.succeed(Answers, service)),
      Layer.provide(Splits.layerNone),
      Layer.build
    )
    return yield* body({ engine, engines, ask, leave })
  }).pipe(Effect.scoped, Effect.provide(options.disk ?? disk()), virtualTime)

it.live("30 s after it is ready a model is asked three times, and what it gave is announced and kept", () => {
  const script = scripted(story)
  return world(script, ({ engines }) =>
    Effect.gen(function* () {
      yield* Effect.sleep("29 seconds")
      expect(script.begun()).toBe(0)
      yield* engines.changed
      expect(script.begun()).toBe(3)
      const [model] = engines.models()
      expect(model?.native).toMatchObject({ ttftMs: 200, tokensPerSecond: 10, runs: 3 })
      const prompts = script.requests.map(({ prompt }) => (prompt._tag === "Text" ? prompt.text : ""))
      expect(new Set(prompts).size).toBe(3)
      yield* Effect.sleep("1 second")
      expect(yield* BaselineFile.read(path, "a")).toEqual(model?.native)
      yield* Effect.sleep("11 hours")
      expect(script.begun()).toBe(3)
      yield* Effect.sleep("2 hours")
      expect(script.begun()).toBe(6)
    })
  )
})

it.live(
  "a request ends the measurement at once; what was measured by then stands with its number, and is made whole",
  () => {
    const script = scripted(story)
    return world(script, ({ ask, engines, leave }) =>
      Effect.gen(function* () {
        yield* Effect.sleep("32 seconds")
        while (script.begun() < 2) yield* Effect.sleep("50 millis")
        expect(script.open()).toBe(1)
        // heartbeats say that the peer is free: it is, for whoever comes
        expect((yield* engines.loads)[0]?.active).toBe(0)
        yield* ask
        yield* Effect.sleep("1 millis")
        expect(script.open()).toBe(0)
        yield* engines.changed
        expect(engines.models()[0]?.native?.runs).toBe(1)
        yield* Effect.sleep("1 hour")
        expect(script.begun()).toBe(2)
        yield* leave
        yield* engines.changed
        expect(engines.models()[0]?.native?.runs).toBe(3)
      })
    )
  }
)

it.live("a model that tells nothing is tried again ten minutes later, and stays unmeasured", () => {
  const script = scripted((teller) => teller.offer(failed("internal")))
  return world(script, ({ engines }) =>
    Effect.gen(function* () {
      yield* Effect.sleep("9 minutes")
      expect(script.begun()).toBe(3)
      yield* Effect.sleep("2 minutes")
      expect(script.begun()).toBe(6)
      expect(engines.models()[0]?.native).toBeUndefined()
    })
  )
})

it.live("what an earlier life measured is announced at once; of another setup it is measured anew", () =>
  Effect.gen(function* () {
    const kept = disk()
    const script = scripted(story)
    yield* world(script, ({ engines }) => Effect.zipRight(engines.changed, Effect.sleep("1 second")), { disk: kept })
    expect(script.begun()).toBe(3)
    yield* world(
      script,
      ({ engines }) =>
        Effect.gen(function* () {
          yield* engines.changed
          expect(engines.models()[0]?.native?.runs).toBe(3)
          expect(script.begun()).toBe(3)
        }),
      { disk: kept }
    )
    yield* world(script, ({ engines }) => engines.changed, { disk: kept, setup: "b" })
    expect(script.begun()).toBe(6)
  })
)

it.live("a file that holds something else counts as unknown, and is written anew", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = `${yield* directory}/baseline.json`
    const figures = { ttftMs: 1, tokensPerSecond: 2, runs: 1, measuredAtMs: 3 }
    const lie = JSON.stringify({ version: 1, entries: [["a", { ...figures, tokensPerSecond: -1 }]] })
    for (const text of ["", "{", "[]", lie]) {
      yield* fs.writeFileString(path, text)
      expect(yield* BaselineFile.read(path, "a")).toBeUndefined()
    }
    yield* BaselineFile.write(path, "a", figures)
    for (let other = 0; other < 127; other++) yield* BaselineFile.write(path, `other ${other}`, figures)
    expect(yield* BaselineFile.read(path, "a")).toEqual(figures)
    yield* BaselineFile.write(path, "one more", figures)
    expect(yield* BaselineFile.read(path, "a")).toBeUndefined()
    expect(yield* BaselineFile.read(path, "one more")).toEqual(figures)
  }).pipe(Effect.provide(BunContext.layer))
)

it.live(
  "the real engine is measured with the tiny model, and its setup changes with the file's time",
  () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* directory
      const model = `${folder}/model.gguf`
      yield* fs.copyFile(
        new URL("../../../packages/engine/models/tiny-small-f16.gguf", import.meta.url).pathname,
        model
      )
      const engine = yield* makeEngine({ path: model, calibrationPath: `${folder}/calibration.json` })
      const before = yield* engine.setup
      expect(yield* engine.setup).toBe(before)
      const engines = yield* Engines.make([engine])
      const options = { path: `${folder}/baseline.json` }
      yield* Baseline.layer({ ...options, times: { afterReadyMs: 0 }, lookEvery: "50 millis" }).pipe(
        Layer.provideMerge(Answers.layer),
        Layer.provide(Layer.succeed(Engines.Engines, engines)),
        Layer.provide(Splits.layerNone),
        Layer.build
      )
      yield* engines.changed
      const native = engines.models()[0]?.native
      expect(Schema.is(NativeFigures)(native)).toBe(true)
      expect(native?.tokensPerSecond).toBeGreaterThan(1)
      yield* fs.utimes(model, 1, 1)
      expect(yield* engine.setup).not.toBe(before)
      yield* fs.writeFileString(`${folder}/calibration.json`, "{}")
      yield* fs.utimes(model, 2, 2)
      expect(yield* engine.setup).not.toBe(before)
      // of another setup, so it is measured once more
      yield* engines.changed
      expect(engines.models()[0]?.native?.measuredAtMs).toBeGreaterThan(native?.measuredAtMs ?? 0)
    }).pipe(Effect.scoped, Effect.provide(BunContext.layer)),
  60_000
)
