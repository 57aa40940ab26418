/**
 * What an engine survives: dead, stuck, lying and noisy hosts, requests that are given up, and more than it can hold.
 */
import { describe, expect } from "bun:test"
import { appendFileSync, copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Engine } from "@weft/engine/Engine"
import type { GenerateEvent } from "@weft/engine/Generation"
import { Duration, Effect, Either, Exit, type Mailbox, Schedule, Scope } from "effect"
import { register } from "prom-client"
import { it } from "../support/effect.ts"
import { answer, ask, askEndless, gather, generate, makeEngine, models } from "./asking.ts"

/** The command of a host that misbehaves. */
const host = (manner: string) =>
  [process.execPath, join(import.meta.dir, "fixtures", "host.ts"), manner] as [string, ...Array<string>]

const code = (event: GenerateEvent | undefined) => (event?._tag === "Failed" ? event.failure.code : event?._tag)

/** Waits until `condition` holds; each test's own deadline bounds it. */
const until = (condition: Effect.Effect<boolean>) =>
  Effect.repeat(condition, { until: (holds) => holds, schedule: Schedule.spaced("5 millis") })

const isReady = (engine: Engine) => Effect.map(engine.load, ({ state }) => state === "ready")
const isIdle = (engine: Engine) => Effect.map(engine.load, ({ active, queued }) => active + queued === 0)

/** Waits for the first token of an answer. */
const firstToken = (mailbox: Mailbox.ReadonlyMailbox<GenerateEvent>) =>
  Effect.repeat(mailbox.take, { until: (event) => event._tag === "Delta" })

const exists = (processId: number): boolean => {
  try {
    return process.kill(processId, 0)
  } catch {
    return false
  }
}

/** Returns the value of a counter for model `m`, 0 before it was set. */
const metric = (name: string, labels: Readonly<Record<string, string>> = {}) =>
  Effect.promise(async () => {
    const all = (await register.getSingleMetric(name)?.get())?.values ?? []
    const wanted = Object.entries({ model: "m", ...labels })
    const found = all.filter((value) => wanted.every(([key, label]) => value.labels[key] === label))
    const counts = found.filter((value) => !("metricName" in value) || value.metricName === `${name}_count`)
    return counts[0]?.value ?? 0
  })

describe("an engine whose host", () => {
  it.live("is killed fails what ran, starts another, and answers again", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine()
      const restartsBefore = yield* metric("weft_engine_restarts_total")
      const mailbox = yield* generate(engine, askEndless())
      yield* firstToken(mailbox)
      const processId = (yield* engine.hostProcessId) ?? 0
      process.kill(processId, "SIGKILL")
      expect(code((yield* gather(mailbox)).last)).toBe("engine_lost")
      expect((yield* engine.load).state).toBe("restarting")
      // A request that comes meanwhile waits for the next host.
      expect((yield* answer(engine, ask("What is 7 plus 5?"))).text).toBe("7 plus 5 is 12.")
      expect(yield* engine.load).toMatchObject({ state: "ready", active: 0, queued: 0, restarts: 1 })
      expect(yield* engine.hostProcessId).not.toBe(processId)
      expect((yield* metric("weft_engine_restarts_total")) - restartsBefore).toBe(1)
    })
  )

  it.live("is killed again and again comes back each time", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine()
      for (const restarts of [1, 2, 3]) {
        process.kill((yield* engine.hostProcessId) ?? 0, "SIGSEGV")
        yield* until(Effect.map(engine.load, (load) => load.restarts === restarts && load.state === "ready"))
        expect((yield* answer(engine, ask("What is 3 plus 3?"))).text).toBe("3 plus 3 is 6.")
      }
    })
  )

  it.live("prints garbage everywhere is not disturbed by it", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ hostCommand: host("noisy") })
      for (let round = 0; round < 5; round++) {
        expect((yield* answer(engine, ask("Count from 3 to 9."))).text).toBe("3, 4, 5, 6, 7, 8, 9.")
      }
      expect((yield* engine.load).restarts).toBe(0)
    })
  )

  const refused = (manner: string, options: Parameters<typeof makeEngine>[0] = {}) =>
    Effect.scoped(makeEngine({ hostCommand: host(manner), ...options })).pipe(
      Effect.either,
      Effect.map((made) => (Either.isLeft(made) ? made.left : undefined))
    )

  it.live("dies at the start says how and what it printed last", () =>
    Effect.gen(function* () {
      const error = yield* refused("asserts")
      expect(error?.reason).toBe("host_lost")
      expect(error?.message).toMatch(/SIGABRT.*GGML_ASSERT\(ne == 1\) failed/s)
    })
  )

  it.live("sees nothing of the environment but what it needs", () =>
    Effect.gen(function* () {
      const error = yield* refused("environment", { environment: { CUDA_VISIBLE_DEVICES: "0" } })
      expect(error?.message).toContain("variables: CUDA_VISIBLE_DEVICES DO_NOT_TRACK GGML_NO_BACKTRACE GLIBC_TUNABLES.")
    })
  )

  it.live("dies leaves no dump with users' text", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine()
      const limits = readFileSync(`/proc/${yield* engine.hostProcessId}/limits`, "utf8")
      expect(limits).toMatch(/Max core file size +0 +0/)
    })
  )

  it.live("never gets ready is given up at the deadline", () =>
    Effect.gen(function* () {
      expect((yield* refused("neverReady", { loadDeadline: Duration.millis(300) }))?.reason).toBe("load_timeout")
    })
  )

  it.live("says what cannot be read is killed", () =>
    Effect.gen(function* () {
      expect((yield* refused("unreadable"))?.reason).toBe("host_lost")
      expect((yield* refused("nonsense"))?.reason).toBe("protocol_broken")
    })
  )

  it.live("answers what it was not asked is replaced", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ hostCommand: host("inventive") })
      yield* until(Effect.map(engine.load, ({ restarts }) => restarts >= 2))
    })
  )

  it.live("is stuck with work is replaced, and the work fails", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ hostCommand: host("stuck"), turnDeadline: Duration.millis(400) })
      expect(code((yield* answer(engine, ask("hello"))).last)).toBe("engine_lost")
      yield* until(Effect.map(engine.load, ({ restarts }) => restarts >= 1))
    })
  )

  it.live("would open a file that was changed since it was checked is not started", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "weft-engine-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(folder, "model.gguf")
      copyFileSync(models.nano, path)
      const engine = yield* makeEngine({ path })
      appendFileSync(path, "x")
      process.kill((yield* engine.hostProcessId) ?? 0, "SIGKILL")
      yield* until(Effect.map(isReady(engine), (ready) => !ready))
      expect(code((yield* answer(engine, ask("hello"))).last)).toBe("engine_lost")
      yield* until(Effect.map(engine.load, ({ restarts }) => restarts >= 3))
      expect(yield* engine.load).toMatchObject({ state: "restarting" })
      expect(yield* engine.hostProcessId).toBeUndefined()
    })
  )

  it.live("loses its supervisor in the middle of its work ends by itself", () =>
    Effect.gen(function* () {
      const owner = Bun.spawn([process.execPath, join(import.meta.dir, "fixtures", "owner.ts")], { stdout: "pipe" })
      yield* Effect.addFinalizer(() => Effect.sync(() => owner.kill("SIGKILL")))
      const first = yield* Effect.promise(() => owner.stdout.getReader().read())
      const processId = Number(new TextDecoder().decode(first.value))
      expect(exists(processId)).toBe(true)
      owner.kill("SIGKILL")
      yield* until(Effect.sync(() => !exists(processId)))
    })
  )

  it.live("ends with its engine, and what ran fails with shutting_down", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const engine = yield* Scope.extend(makeEngine(), scope)
      const mailbox = yield* generate(engine, askEndless())
      yield* firstToken(mailbox)
      const processId = (yield* engine.hostProcessId) ?? 0
      yield* Scope.close(scope, Exit.void)
      expect(code((yield* gather(mailbox)).last)).toBe("shutting_down")
      expect(exists(processId)).toBe(false)
      expect((yield* engine.load).state).toBe("stopped")
      expect(code((yield* answer(engine, ask("hello"))).last)).toBe("shutting_down")
    })
  )

  it.live("has nothing to do uses next to no processor time", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine()
      yield* answer(engine, ask("What is 7 plus 5?"))
      const processId = yield* engine.hostProcessId
      // Fields 14 and 15 of proc(5): user and system time in hundredths of a second.
      const used = () => {
        const fields = readFileSync(`/proc/${processId}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
        return Number(fields[11]) + Number(fields[12])
      }
      // What its first answer left to do, compiling and collecting, may take seconds where others compute too.
      let least = Number.POSITIVE_INFINITY
      for (let second = 0; second < 8 && least > 2; second++) {
        const before = used()
        yield* Effect.sleep("1 second")
        least = Math.min(least, used() - before)
      }
      expect(least).toBeLessThanOrEqual(2)
    })
  )
})

describe("requests to an engine", () => {
  it.live("that are given up free their slot at once, and no more is computed for them", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ slots: 1 })
      const scope = yield* Scope.make()
      const mailbox = yield* Scope.extend(generate(engine, askEndless()), scope)
      yield* firstToken(mailbox)
      yield* Scope.close(scope, Exit.void)
      yield* until(isIdle(engine)).pipe(Effect.timeout("1 second"))
      const turns = yield* metric("weft_engine_decode_seconds")
      const { tokens } = yield* answer(engine, ask("What is 7 plus 5?"))
      // One turn per token and one for the end token: the prompt's turn draws the first.
      expect((yield* metric("weft_engine_decode_seconds")) - turns).toBe(tokens.length + 1)
    })
  )

  it.live("that are given up while they wait leave the others in order", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ slots: 1 })
      const running = yield* generate(engine, askEndless({ maxTokens: 60 }))
      const scope = yield* Scope.make()
      yield* Scope.extend(generate(engine, ask("What is an audit?")), scope)
      const waiting = yield* generate(engine, ask("What is 7 plus 5?"))
      yield* until(Effect.map(engine.load, ({ active, queued }) => active === 1 && queued === 2))
      expect(yield* metric("weft_engine_active_sequences")).toBe(1)
      expect(yield* metric("weft_engine_queued_requests")).toBe(2)
      yield* Scope.close(scope, Exit.void)
      expect((yield* gather(waiting)).text).toBe("7 plus 5 is 12.")
      expect((yield* gather(running)).tokens.length).toBe(60)
      yield* until(isIdle(engine))
    })
  )

  it.live("beyond slots and queue are refused, and those within are all answered", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ slots: 2, queuedMax: 3 })
      const answers = yield* Effect.all(
        Array.from({ length: 8 }, () => answer(engine, ask("What is 7 plus 5?"))),
        { concurrency: "unbounded" }
      )
      const codes = answers.map(({ last }) => code(last)).toSorted()
      expect(codes).toEqual([...Array(5).fill("Finished"), ...Array(3).fill("overloaded")])
      expect((yield* answer(engine, ask("What is 7 plus 5?"))).text).toBe("7 plus 5 is 12.")
    })
  )

  it.live("with a long prompt do not hold up the ones that run", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine({ slots: 2, prefillTokens: 8 })
      const running = yield* generate(engine, askEndless({ maxTokens: 200 }))
      yield* firstToken(running)
      const before = yield* metric("weft_engine_tokens_total", { kind: "completion" })
      const long = yield* generate(engine, ask({ _tag: "Tokens", tokens: Array(160).fill(300) }, { maxTokens: 1 }))
      yield* firstToken(long)
      // 160 tokens at 8 a turn are 20 turns, and each of them gave the other answer a token.
      expect((yield* metric("weft_engine_tokens_total", { kind: "completion" })) - before).toBeGreaterThanOrEqual(20)
      // The first of its tokens was taken above.
      expect((yield* gather(running)).tokens.length).toBe(199)
    })
  )

  it.live("wait for a host that is being started", () =>
    Effect.gen(function* () {
      const engine = yield* makeEngine()
      process.kill((yield* engine.hostProcessId) ?? 0, "SIGKILL")
      yield* until(Effect.map(isReady(engine), (ready) => !ready))
      const answers = yield* Effect.all(
        [1, 2, 3].map(() => answer(engine, ask("What is 7 plus 5?"))),
        { concurrency: "unbounded" }
      )
      expect(answers.map(({ text }) => text)).toEqual(Array(3).fill("7 plus 5 is 12."))
    })
  )
})
