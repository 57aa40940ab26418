/**
 * Peers as processes that share a model too big for each of them, for an entry that is made of the mesh's own parts: it
 * takes registrations, asks for a pipeline, and asks the pipeline for an answer.
 */
import { expect } from "bun:test"
import { statSync } from "node:fs"
import { join } from "node:path"
import * as EngineSupervisor from "@weft/engine/EngineSupervisor"
import * as GenerateCall from "@weft/engine/GenerateCall"
import { type GenerateEvent, isLast } from "@weft/engine/Generation"
import { Form, GroupEvent } from "@weft/engine/pipeline/PipelineProtocol"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import * as Announcement from "@weft/mesh/Announcement"
import { Certificate } from "@weft/mesh/Certificate"
import * as ControlPlane from "@weft/mesh/ControlPlane"
import * as Frames from "@weft/mesh/Frames"
import { protocolVersion } from "@weft/mesh/Hello"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { MeshRpcs } from "@weft/mesh/MeshProtocol"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { type Session, Transport } from "@weft/mesh/Transport"
import { PeerStatus } from "@weft/peer/PeerStatus"
import { Clock, Effect, Either, Layer, Option, Schema } from "effect"
import { answer, answerOf, ask } from "../engine/asking.ts"
import { it } from "../support/effect.ts"
import * as Gguf from "../support/gguf.ts"
import { directory, modelPath, run, startPeer } from "../support/processes.ts"

/** What the entry knows of a peer. */
interface Known {
  readonly link: Link.Link
  /** All that it registered as, oldest first. */
  readonly said: Array<PeerInfo>
}

/** Waits until there is something; each test's own deadline bounds it. */
const until = <A>(look: () => A | undefined): Effect.Effect<A> =>
  Effect.suspend(() => {
    const found = look()
    return found === undefined ? Effect.delay(until(look), "10 millis") : Effect.succeed(found)
  })

/** Starts an entry and returns what its peers said. */
const startEntry = Effect.gen(function* () {
  const transport = yield* Transport
  const identity = yield* Identity
  const known = new Map<string, Known>()
  const welcome = (session: Session) =>
    Effect.gen(function* () {
      const link = yield* Link.accept(session, { role: "entry", accepts: "peer" })
      const peer: Known = { link, said: [] }
      known.set(link.peer, peer)
      const expected = { sender: link.peer, audience: identity.id }
      let lastSequence = -1
      const handlers = MeshRpcs.of({
        Register: Effect.fnUntraced(function* ({ announcement }) {
          const now = yield* Clock.currentTimeMillis
          const { info, sequence } = Either.getOrThrow(
            Announcement.open(announcement, { ...expected, lastSequence, now })
          )
          lastSequence = sequence
          peer.said.push(info)
          return { heartbeatEveryMs: 100 }
        }),
        Heartbeat: () => Effect.succeed({ nowMs: 0 }),
        Elect: () => Effect.succeed(null),
        Leave: () => Effect.void
      })
      yield* Link.serve(link, (incoming) => ControlPlane.serve(incoming, handlers))
    }).pipe(Effect.scoped, Effect.ignore)
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(transport.accept, (one) => Effect.forkScoped(welcome(one)))))
  const description = { peerId: identity.id, meshAddresses: [transport.address], protocolVersion, version: "0.0.0" }
  const door = yield* Effect.acquireRelease(
    Effect.sync(() => Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => Response.json(description) })),
    (server) => Effect.promise(() => server.stop(true))
  )
  return { url: `http://127.0.0.1:${door.port}`, known, identity }
})

const mesh = Layer.merge(
  Layer.provide(QuicTransport.layer({ host: "127.0.0.1", port: 0 }), Certificate.layer),
  Identity.layerEphemeral
)

it.live(
  "two peers that each hold half of a model answer together as one that holds it all, and say so while they do",
  () =>
    Effect.gen(function* () {
      const { identity, known, url } = yield* startEntry
      const args = ["--max-memory", "16MB", "--threads", "1", "--context", "1024"]
      const draft = modelPath("tiny-nano-f16")
      const [host, other] = yield* Effect.all([
        startPeer(url, { args: [...args, "--layers", "0-4", "--draft-model", draft] }),
        startPeer(url, { args: [...args, "--layers", "4-8"] })
      ])
      const first = yield* until(() => known.get(host.id))
      const second = yield* until(() => known.get(other.id))
      const [offer] = first.said[0]?.stages ?? []
      if (offer === undefined) throw new Error("no layers are offered")
      expect(first.said[0]?.models).toEqual([])
      expect(offer).toMatchObject({ layers: 8, only: { from: 0, to: 4 }, held: [], cuts: [1, 2, 3, 4, 5, 6, 7] })
      expect(offer.layerBytes).toHaveLength(8)

      const stages = [first, second].map(({ link }, index) => ({
        peer: link.peer,
        address: link.session.remoteAddress,
        from: index * 4,
        to: index * 4 + 4
      }))
      const split = yield* Link.open(first.link, "split")
      const permitted = { group: "12".repeat(16), host: first.link.peer, model: offer.model, peer: second.link.peer }
      const permits = [StagePermit.sign(identity, permitted, 4, yield* Clock.currentTimeMillis)]
      const wish = Form.make({ group: permitted.group, model: offer.model, layers: 8, stages, spares: [], permits })
      yield* split.write(Frames.encode(Form)(wish))
      const frames = Frames.reader(split)
      const serving = yield* Effect.repeat(frames.read(GroupEvent), {
        until: (event) => Option.isNone(event) || event.value._tag === "Serving" || event.value._tag === "Disbanded"
      })
      expect(Option.getOrThrow(serving)).toMatchObject({ _tag: "Serving", epoch: 1 })
      const served = yield* until(() => first.said.at(-1)?.models[0])
      expect(served.stages).toEqual(stages.map(({ from, peer, to }) => ({ peer, from, to })))

      // The first decodes of the start give a figure, which the entry hears of without asking.
      const times = yield* Effect.forEach([first, second], ({ said }) => until(() => said.at(-1)?.stages?.[0]?.layerMs))
      for (const layerMs of times) expect(layerMs).toBeGreaterThan(0)

      const request = ask("Tell me of a fox.", { model: offer.model.id, maxTokens: 12 })
      const events: Array<GenerateEvent> = []
      GenerateCall.ask(first.link, request, (came) => events.push(...came))
      yield* until(() => (events.some(isLast) ? true : undefined))
      const path = modelPath("tiny-small-f16")
      const exact = { path, modelId: offer.model.id, profile: "exact", threads: 1 } as const
      const wanted = yield* Effect.flatMap(EngineSupervisor.make(exact), (engine) => answer(engine, request))
      expect(answerOf(events).tokens).toEqual([...wanted.tokens])

      const status = (dataDirectory: string, ...more: ReadonlyArray<string>) =>
        run(["run", "apps/peer/src/main.ts", "status", "--data-dir", dataDirectory, ...more])
      const decode = Schema.decodeUnknownSync(Schema.parseJson(PeerStatus))
      const [mine, theirs] = yield* Effect.all([
        Effect.map(status(host.dataDirectory, "--json"), ({ stdout }) => decode(stdout)),
        Effect.map(status(other.dataDirectory, "--json"), ({ stdout }) => decode(stdout))
      ])
      expect(mine).toMatchObject({
        models: [{ id: offer.model.id, state: "ready" }],
        lends: [{ layers: 8, from: 0, to: 4, draft }],
        groups: [{ group: wish.group, phase: "serving", draft, stages: [{ isReady: true }, { isReady: true }] }]
      })
      expect(theirs).toMatchObject({ models: [], leases: [{ from: 4, to: 8, state: "ready", epoch: 1, jobs: 0 }] })
      expect((yield* status(other.dataDirectory)).stdout).toMatch(/LENT TO .*\n12121212 .* 4-8 .* ready/)
      const shown = (yield* status(host.dataDirectory)).stdout
      expect(shown).toContain("hosting 12121212: tiny-small-f16, serving, epoch 1")
      expect(shown).toMatch(/guesses: lookup \d+ of \d+ right, .*tiny-nano-f16.gguf \d+ of \d+ right/)
      expect(mine.groups[0]?.stats?.model?.tokenMs).toBeGreaterThan(0)
      // The room of the draft model is not offered.
      const [less, all] = [first, second].map(({ said }) => said[0]?.stages?.[0]?.memoryBytes ?? 0)
      expect(all).toBe(16e6)
      expect((all ?? 0) - (less ?? 0)).toBeGreaterThan(statSync(draft).size)

      yield* split.end
      yield* until(() => (first.said.at(-1)?.models.length === 0 ? true : undefined))
      expect(first.said.at(-1)?.stages?.[0]?.held).toEqual([{ from: 0, to: 4 }])

      // A peer that comes back says at once what it measured before.
      yield* Effect.orDie(other.process.kill("SIGTERM"))
      const { dataDirectory } = other
      yield* startPeer(url, { dataDirectory, args: [...args, "--layers", "4-8"] })
      const back = yield* until(() => (known.get(other.id) === second ? undefined : known.get(other.id)))
      expect(back.said[0]?.stages?.[0]?.layerMs).toBeGreaterThan(0)
    }).pipe(Effect.provide(mesh)),
  120_000
)

it.live("a draft model that cannot guess for a model is refused with the reason, and the model is lent without", () =>
  Effect.gen(function* () {
    const { known, url } = yield* startEntry
    const other = join(yield* directory, "other.gguf")
    yield* Effect.promise(() => Bun.write(other, Gguf.write(Gguf.model)))
    const peer = yield* startPeer(url, { args: ["--split", "--draft-model", `tiny-small-f16=${other}`] })
    expect((yield* peer.event("refused")).why).toMatch(/has 8 tokens, not \d+; take a small model of the same family/)
    const said = yield* until(() => known.get(peer.id)?.said[0])
    expect(said.stages?.map(({ model }) => model.id)).toEqual(["tiny-small-f16"])
  }).pipe(Effect.provide(mesh))
)

it.live("layers that cannot be lent are refused when the peer starts, with those that can", () =>
  Effect.gen(function* () {
    const common = ["up", "--entry", "http://127.0.0.1:9", "--model", modelPath("tiny-small-f16")]
    const data = ["--data-dir", yield* directory]
    const started = (layers: string) => run(["run", "apps/peer/src/main.ts", ...common, ...data, "--layers", layers])
    const beyond = yield* started("0-9")
    expect([beyond.code, beyond.stderr]).toEqual([1, expect.stringContaining("8 layers")])
    const wrong = yield* started("half")
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining("0-12")])
  })
)
