/**
 * Answers while peers, links and engines fail: thousands of seeded runs over a memory network in virtual time. Whatever
 * happens, a client has the very beginning of its own answer, the whole of it where it is told so, and one end.
 */
import { expect } from "bun:test"
import * as GenerateReply from "@weft/engine/GenerateReply"
import { type GenerateEvent, type GenerateRequest, isLast } from "@weft/engine/Generation"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { Demand } from "@weft/entry/election/Demand"
import { Inference } from "@weft/entry/Inference"
import { Links } from "@weft/entry/Links"
import * as MeshInference from "@weft/entry/MeshInference"
import { Performance } from "@weft/entry/performance/Performance"
import { Slots } from "@weft/entry/Slots"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import * as MemoryTransport from "@weft/mesh/MemoryTransport"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Transport } from "@weft/mesh/Transport"
import { Clock, Context, Duration, Effect, Either, Layer, Random } from "effect"
import { failed, request, type Scripted, scripted, started } from "../engine/scripted.ts"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { simulated } from "../support/virtualTime.ts"

const seeds = 2_000
const maxFailovers = 2
/** Longer than any answer, with every wait for a peer in it. */
const clientPatience = Duration.minutes(2)

/** What a client asks for: its own words, so many of them. */
interface Asked {
  readonly client: number
  readonly words: number
}

/** The words of a client's answer; no other client's have one of them. */
const wordsOf = ({ client, words }: Asked): ReadonlyArray<string> =>
  Array.from({ length: words }, (_, at) => `${client}:${at} `)
const toRequest = (asked: Asked): GenerateRequest =>
  request({ prompt: { _tag: "Text", text: JSON.stringify(asked) }, maxTokens: asked.words })
const fromRequest = ({ prompt }: GenerateRequest): Asked => JSON.parse(prompt._tag === "Text" ? prompt.text : "{}")

/** How peers fail in one run. */
interface Faults {
  /** Chance of an engine to fail with each word, or to refuse. */
  readonly engine: number
  /** Words by whose text an engine lags behind its tokens, as characters and stop strings make it do. */
  readonly lag: number
  readonly pauseMs: number
}

/** Says the words of whoever asks, on from where it was interrupted; fails now and then. */
const speaker = (faults: Faults, random: Random.Random): Scripted =>
  scripted(({ offer }, asked) =>
    Effect.gen(function* () {
      const words = wordsOf(fromRequest(asked))
      const { textLength = 0, tokens = [] } = asked.resume ?? {}
      expect(tokens).toEqual(words.slice(0, tokens.length).map((_, at) => at))
      if ((yield* random.next) < faults.engine) return yield* offer(failed("overloaded"))
      yield* offer(started)
      let sentLength = textLength
      for (let at = tokens.length; at < words.length; at++) {
        if ((yield* random.next) < faults.engine) return yield* offer(failed("engine_lost"))
        yield* Effect.sleep(faults.pauseMs)
        const isLastWord = at === words.length - 1
        const released = words.slice(0, isLastWord ? words.length : Math.max(0, at + 1 - faults.lag)).join("")
        yield* offer({ _tag: "Delta", text: released.slice(sentLength), tokens: [at] })
        sentLength = Math.max(sentLength, released.length)
      }
      const usage = { promptTokens: 1, completionTokens: words.length, cachedTokens: 0 }
      yield* offer({ _tag: "Finished", finishReason: "stop", usage })
    })
  )

/** One peer: dials, serves until the link is lost or it leaves by itself, and comes back after a while, for ever. */
const live = (number: number, speech: Scripted, random: Random.Random, entry: Transport["Type"]) =>
  Effect.gen(function* () {
    const id = peerId(number)
    const { ref } = yield* PeerDirectoryActor
    const links = yield* Links
    const slots = yield* Slots
    const engine = Either.right(yield* speech.engine)
    const transport = Context.get(yield* Layer.build(MemoryTransport.layer({ name: `peer-${number}` })), Transport)
    let lives = 0
    const life = Effect.gen(function* () {
      const [near, far] = yield* Effect.all([transport.dial(entry.address), entry.accept], { concurrency: 2 })
      const linkNumber = number * 1_000 + ++lives
      yield* links.hold({ peer: id, role: "peer", number: linkNumber, session: far })
      const leave = Effect.zipRight(Effect.ignore(ref.Leave({ peer: id, link: linkNumber })), slots.serveQueues)
      yield* Effect.addFinalizer(() => leave)
      yield* ref.Register({ info: peerInfo(id, ["tiny"], 2), link: linkNumber })
      yield* slots.serveQueues
      const serving = Link.serve({ peer: id, role: "entry", number: linkNumber, session: near }, ({ stream }) =>
        GenerateReply.serve(stream, () => ({ engine, done: () => {} }))
      )
      const leaving = Effect.zipRight(Effect.sleep(yield* random.nextIntBetween(200, 4_000)), near.close(1, "bye"))
      yield* Effect.raceFirst(Effect.zipRight(serving, far.closed), Effect.zipRight(leaving, far.closed))
    }).pipe(Effect.scoped, Effect.ignore)
    yield* Effect.forever(Effect.zipRight(life, Effect.sleep(yield* random.nextIntBetween(50, 1_500))))
  })

/** What a client got. */
interface Got {
  readonly asked: Asked
  readonly events: ReadonlyArray<GenerateEvent>
  readonly refused: string | undefined
  readonly outcome: "ended" | "left" | "never ended"
}

/** One client: comes after a while, takes what it is told, and may leave in the middle. */
const ask = (asked: Asked, random: Random.Random) =>
  Effect.gen(function* () {
    const inference = yield* Inference
    const events: Array<GenerateEvent> = []
    let refused: string | undefined
    yield* Effect.sleep(yield* random.nextIntBetween(0, 2_000))
    const leaves = (yield* random.next) < 0.2
    const patience = leaves ? Duration.millis(yield* random.nextIntBetween(0, 1_500)) : clientPatience
    const ending = Effect.async<void>((resume) => {
      const cancel = inference.generate(
        toRequest(asked),
        { caller: "test", labels: {} },
        {
          begun: () => {},
          moved: () => {},
          refused: ({ reason }) => {
            refused = reason
            resume(Effect.void)
          },
          events: (told) => {
            events.push(...told)
            if (told.some(isLast)) resume(Effect.void)
          }
        }
      )
      return Effect.sync(cancel)
    })
    const ended = yield* Effect.timeoutOption(ending, patience)
    const outcome = ended._tag === "Some" ? "ended" : leaves ? "left" : "never ended"
    return { asked, events, refused, outcome } satisfies Got
  })

/** One run by seed: what every client got, and what was still taken when all was over. */
const simulate = (seed: number) =>
  Effect.gen(function* () {
    const random = Random.make(seed)
    const faults: Faults = {
      engine: yield* random.nextRange(0, 0.05),
      lag: yield* random.nextIntBetween(0, 3),
      pauseMs: yield* random.nextIntBetween(5, 60)
    }
    const network = MemoryNetwork.layer({
      seed,
      delayMs: yield* random.nextIntBetween(0, 60),
      jitterMs: yield* random.nextIntBetween(0, 40),
      sessionLossPerMessage: yield* random.nextRange(0, 0.01),
      streamCutPerMessage: yield* random.nextRange(0, 0.02)
    })
    const speakers = Array.from({ length: yield* random.nextIntBetween(1, 5) }, (_, at) =>
      speaker(faults, Random.make(`${seed} engine ${at}`))
    )
    const clients = yield* Effect.forEach(Array.from({ length: yield* random.nextIntBetween(1, 7) }), (_, client) =>
      Effect.map(random.nextIntBetween(1, 30), (words): Asked => ({ client, words }))
    )
    const play = Effect.gen(function* () {
      const entry = Context.get(yield* Layer.build(MemoryTransport.layer({ name: "entry" })), Transport)
      yield* Effect.forEach(speakers, (speech, at) =>
        Effect.forkScoped(live(at + 1, speech, Random.make(`${seed} peer ${at}`), entry))
      )
      yield* Effect.sleep(500)
      const got = yield* Effect.forEach(clients, (asked) => ask(asked, Random.make(`${seed} client ${asked.client}`)), {
        concurrency: "unbounded"
      })
      const endedMs = yield* Clock.currentTimeMillis
      // What was cancelled is let go on the other side a way later.
      yield* Effect.sleep("3 seconds")
      const inFlight = [...(yield* Links).attachments().values()].map((held) => held.inFlight)
      return { seed, got, endedMs, inFlight, open: speakers.map((speech) => speech.open()) }
    })
    return yield* simulated(Effect.scoped(Effect.provide(play, Layer.provideMerge(surroundings, network))))
  })

const surroundings = MeshInference.layer.pipe(
  Layer.provideMerge(Slots.layer),
  Layer.provideMerge(Links.layer),
  Layer.provide(Performance.layer),
  Layer.provideMerge(PeerDirectoryActor.layer()),
  Layer.provide([EntryConfig.layer({ maxFailovers }), Demand.layer])
)

/** Holds what one client got against what it may get. */
const judge = ({ asked, events, outcome, refused }: Got): "whole" | "failed" | "refused" | "left" => {
  const words = wordsOf(asked)
  const tokens = events.flatMap((event) => (event._tag === "Delta" ? event.tokens : []))
  const text = events.map((event) => (event._tag === "Delta" ? event.text : "")).join("")
  expect(outcome).not.toBe("never ended")
  // The beginning of its own words and of nobody else's, in order, none twice and none left out.
  expect(tokens).toEqual(words.slice(0, tokens.length).map((_, at) => at))
  expect(words.join("")).toStartWith(text)
  expect(events.filter(({ _tag }) => _tag === "Started").length).toBe(
    events.some(({ _tag }) => _tag !== "Failed") ? 1 : 0
  )
  if (outcome === "left") return "left"
  expect(events.filter(isLast).length).toBe(refused === undefined ? 1 : 0)
  if (refused !== undefined) return "refused"
  const last = events.at(-1)
  if (last?._tag !== "Finished") return "failed"
  expect([text, last.usage.completionTokens]).toEqual([words.join(""), words.length])
  return "whole"
}

it.live(
  "whatever fails, no client loses, repeats or gets another's words, every answer ends, and every place is free again",
  () =>
    Effect.gen(function* () {
      const outcomes = { whole: 0, failed: 0, refused: 0, left: 0 }
      for (let seed = 1; seed <= seeds; seed++) {
        const run = yield* simulate(seed)
        try {
          for (const got of run.got) outcomes[judge(got)]++
          expect([run.inFlight, run.open]).toEqual([run.inFlight.map(() => 0), run.open.map(() => 0)])
        } catch (cause) {
          throw new Error(`seed ${seed}: ${JSON.stringify(run, null, 1)}`, { cause })
        }
      }
      // Each of them was tried often enough to mean something.
      expect(Math.min(...Object.values(outcomes))).toBeGreaterThan(seeds / 20)
      expect(outcomes.whole).toBeGreaterThan(seeds)
    }),
  // Ten times what they take on a computer that does nothing else: they wait for whatever else is tested.
  seeds * 700
)

it.live("the same seed gives the same run, to the millisecond", () =>
  Effect.gen(function* () {
    for (const seed of [3, 5, 8, 13, 21]) {
      expect(yield* simulate(seed)).toEqual(yield* simulate(seed))
    }
  })
)
