/**
 * Peers that lend a stage and lie: over QUIC, beside real stages. Whatever they say, the answer is that of the whole
 * model, and the entry is told who it was and why.
 */
import { describe, expect } from "bun:test"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import type { GenerateRequest } from "@weft/engine/Generation"
import type * as ModelFile from "@weft/engine/ModelFile"
import { StageReply, StageRequest } from "@weft/engine/pipeline/PipelineProtocol"
import * as StageEdge from "@weft/engine/pipeline/StageEdge"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as StageFile from "@weft/engine/stage/StageFile"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import * as Frames from "@weft/mesh/Frames"
import type * as Link from "@weft/mesh/Link"
import { Clock, Effect, Either, Fiber } from "effect"
import { it } from "../../support/effect.ts"
import { answer, ask as request } from "../asking.ts"
import { sourceOf } from "../stage/cutting.ts"
import { ask, prepare, type Stranger, startPeer, startStranger, until } from "./peering.ts"
import { contextTokens, task } from "./staging.ts"

/** What a liar does with a window: frames for the host and for the next stage. */
interface Lie {
  readonly sha256?: string
  readonly toHost?: (window: StageFrame.Window) => Uint8Array | undefined
  readonly toNext?: (frame: StageFrame.StageFrame) => StageFrame.StageFrame
}

const encodeReply = Frames.encode(StageReply)
const decodeRequest = Frames.decode(StageRequest)

/** A lease of a liar: it is ready at once, in every epoch, and opens the edges that it should. */
const lend = (stranger: Stranger, { stream }: Link.Incoming, link: Link.Link, lie: Lie, sha256: string) => {
  const feed = new Frames.FrameFeed(64 * 1024)
  let group = ""
  let out: { readonly host: StageEdge.EdgeOut; next: StageEdge.EdgeOut | undefined } | undefined
  const none = { opened: () => {}, lost: () => {} }
  const wire = (said: typeof StageRequest.Type) => {
    if (said._tag === "Reserve") group = said.group
    const { epoch } = said
    out = { host: StageEdge.open(link, { _tag: "Edge", group, epoch, to: "host" }, none), next: undefined }
    const { next } = said
    const wired = out
    if (next !== null) {
      const dial = Effect.map(stranger.links.get(next), (linked) => {
        wired.next = StageEdge.open(linked, { _tag: "Edge", group, epoch, to: "next" }, none)
      })
      void Effect.runPromise(Effect.scoped(Effect.zipRight(dial, Effect.never)))
    }
    const ready = { epoch, stageSha256: lie.sha256 ?? sha256, width: 256, msPerLayer: null }
    stream.unsafeWrite(encodeReply({ _tag: "Ready", ...ready }))
  }
  stream.unsafeListen({
    data: (bytes) => {
      feed.push(bytes)
      for (let frame = feed.next(); frame instanceof Uint8Array; frame = feed.next()) {
        wire(Either.getOrThrow(decodeRequest(frame)))
      }
    },
    ended: () => {},
    closed: () => {},
    failed: () => {},
    tick: () => {}
  })
  return (bytes: Uint8Array): boolean => {
    const frame = Either.getOrThrow(StageFrame.decode(bytes))
    const said = frame.kind === "window" ? lie.toHost?.(frame) : undefined
    if (said !== undefined) out?.host.send(said)
    if (lie.toNext !== undefined) out?.next?.send(StageFrame.encode(lie.toNext(frame)))
    return true
  }
}

/** Starts a peer that lends the layers `from` … `to` and lies. */
const startLiar = Effect.fnUntraced(function* (file: ModelFile.ModelFile, from: number, to: number, lie: Lie) {
  const layout = Either.getOrThrow(StageLayout.make(file.header, { from, to }, { source: file.sha256 }))
  const sha256 = yield* StageFile.sha256Of(yield* sourceOf(file.path), layout)
  let take: ((frame: Uint8Array) => boolean) | undefined
  return yield* startStranger((incoming, stranger, link) => {
    if (incoming.kind === "stage") take = lend(stranger, incoming, link, lie, sha256)
    else
      StageEdge.accept(incoming.stream, (edge) =>
        edge.attach({
          frameBytesMax: StageEdge.frameBytesMax(256),
          take: (frame) => take?.(frame) ?? true,
          lost: () => {}
        })
      )
  })
})

const question: GenerateRequest = request(
  { _tag: "Tokens", tokens: task(40, 3).prompt },
  { sampling: { ...task(40, 3).sampling, seed: 3 }, maxTokens: 24 }
)

const solo = (whole: ModelFile.ModelFile) =>
  Effect.scoped(
    Effect.flatMap(
      EngineSupervisor.make({ path: whole.path, modelId: "m", profile: "exact", contextTokens, threads: 1 }),
      (engine) => Effect.map(answer(engine, question), ({ tokens }) => tokens)
    )
  )

const tokensOf = (window: StageFrame.Window, tokens: ReadonlyArray<number>): Uint8Array => {
  const { drawn, epoch, job, position, round } = window
  const place = { epoch, job, round, window: window.window, position }
  return StageFrame.encode({ kind: "tokens", ...place, drawn, tokens: Int32Array.from(tokens) })
}

/** Lies of a last stage, and what the entry is told of it. */
const lies: ReadonlyArray<readonly [what: string, lie: Lie, reason: string]> = [
  ["runs another file", { sha256: "0".repeat(64) }, "another file"],
  ["says a token that there is not", { toHost: (window) => tokensOf(window, [1_000_000]) }, "token 1000000"],
  ["says more tokens than were asked for", { toHost: (window) => tokensOf(window, [5, 6, 7]) }, "may not come"],
  [
    "answers windows that nobody sent",
    { toHost: (window) => tokensOf({ ...window, window: window.window + 5 }, [5]) },
    "window"
  ]
]

describe("a last stage that lies", () => {
  for (const [what, lie, reason] of lies)
    it.live(
      `and ${what} loses its place to a spare, and the answer is that of the whole model`,
      () =>
        Effect.gen(function* () {
          const file = yield* prepare
          const wanted = yield* solo(file)
          const [entry, host, spare] = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file)])
          const liar = yield* startLiar(file, 3, 6, lie)
          const wish = yield* ask(entry, [host, liar], file, [3], [spare])
          if (lie.sha256 === undefined) yield* wish.until("Serving")
          const asked = yield* Effect.fork(
            Effect.zipRight(
              until(() => host.serving() !== undefined),
              Effect.suspend(() => {
                const serving = host.serving()
                if (serving === undefined) throw new Error("no pipeline serves")
                return answer(serving[0], question)
              })
            )
          )
          const broken = yield* wish.until("Broken")
          expect([broken.peer, broken.reason]).toEqual([liar.place.peer, expect.stringContaining(reason)])
          const healed = yield* wish.until("Serving")
          expect(healed.stages.map(({ peer }) => peer)).toEqual([host.place.peer, spare.place.peer])
          expect((yield* Fiber.join(asked)).tokens).toEqual([...wanted])
        }),
      60_000
    )
})

describe("a last stage that says nothing", () => {
  it.live(
    "is let go at its second silence, within seconds, and the answer is that of the whole model",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const wanted = yield* solo(file)
        const [entry, host, spare] = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file)])
        const liar = yield* startLiar(file, 3, 6, {})
        const wish = yield* ask(entry, [host, liar], file, [3], [spare])
        yield* wish.until("Serving")
        const serving = host.serving()
        if (serving === undefined) throw new Error("no pipeline serves")
        const sinceMs = yield* Clock.currentTimeMillis
        const asked = yield* Effect.fork(answer(serving[0], question))
        const first = yield* wish.until("Broken")
        expect([first.peer, first.reason]).toEqual([undefined, expect.stringContaining("no stage was heard of")])
        const second = yield* wish.until("Broken")
        expect(second.peer).toBe(liar.place.peer)
        // Twice two seconds, and what a machine that does much else adds.
        expect((yield* Clock.currentTimeMillis) - sinceMs).toBeLessThan(10_000)
        expect((yield* Fiber.join(asked)).tokens).toEqual([...wanted])
      }),
    60_000
  )
})

describe("a middle stage that lies", () => {
  it.live(
    "and hands on what is no number is let go at its second try, and the answer is that of the whole model",
    () =>
      Effect.gen(function* () {
        const file = yield* prepare
        const wanted = yield* solo(file)
        const peers = yield* Effect.all([startPeer(file), startPeer(file), startPeer(file), startPeer(file)])
        const [entry, host, tail, spare] = peers
        const spoil = (frame: StageFrame.StageFrame): StageFrame.StageFrame =>
          frame.kind === "window" ? { ...frame, hidden: frame.hidden?.map(() => Number.NaN) } : frame
        const liar = yield* startLiar(file, 2, 4, { toNext: spoil })
        const wish = yield* ask(entry, [host, liar, tail], file, [2, 4], [spare])
        yield* wish.until("Serving")
        const serving = host.serving()
        if (serving === undefined) throw new Error("no pipeline serves")
        const asked = yield* Effect.fork(answer(serving[0], question))
        const first = yield* wish.until("Broken")
        expect([first.peer, first.reason]).toEqual([undefined, expect.stringContaining("finite")])
        const second = yield* wish.until("Broken")
        expect(second.peer).toBe(liar.place.peer)
        const healed = yield* wish.until("Serving")
        expect(healed.stages.map(({ peer }) => peer)).toEqual([host, spare, tail].map(({ place }) => place.peer))
        expect((yield* Fiber.join(asked)).tokens).toEqual([...wanted])
      }),
    60_000
  )
})
