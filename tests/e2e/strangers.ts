/** What tests put before a real entry: peers inside the test that say and answer what they like, and clients. */
import * as GenerateReply from "@weft/engine/GenerateReply"
import * as Announcement from "@weft/mesh/Announcement"
import { Certificate } from "@weft/mesh/Certificate"
import * as ControlPlane from "@weft/mesh/ControlPlane"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import * as PeerId from "@weft/mesh/PeerId"
import type { PeerInfo } from "@weft/mesh/PeerInfo"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { type MeshStream, Transport } from "@weft/mesh/Transport"
import { Clock, Context, Effect, Either, Layer, Schedule, Schema, type Scope } from "effect"
import { scripted } from "../engine/scripted.ts"
import { as, type Endpoint } from "../mesh/links.ts"
import { peerInfo } from "../mesh/peers.ts"
import type { startEntry } from "../support/processes.ts"

/** Represents an entry that runs as a process of its own. */
export type Entry = Effect.Effect.Success<ReturnType<typeof startEntry>>

/** A process of the mesh inside the test, with a UDP port and an identity of its own. */
export const endpoint = Effect.map(
  Layer.build(
    Layer.merge(
      Layer.provide(QuicTransport.layer({ host: "127.0.0.1", port: 0 }), Certificate.layer),
      Identity.layerEphemeral
    )
  ),
  (context): Endpoint => ({ transport: Context.get(context, Transport), identity: Context.get(context, Identity) })
)

/** Returns an entry's id as one. */
export const entryId = ({ peerId }: Pick<Entry, "peerId">) => Schema.decodeUnknownSync(PeerId.PeerId)(peerId)

/** Returns what an entry's `/metrics` says. */
export const metrics = ({ url }: Pick<Entry, "url">) =>
  Effect.promise(async () => (await fetch(`${url}/metrics`)).text())

/** Returns the number that the first group of `line` finds; 0 where it finds none. */
export const figure = (text: string, line: RegExp): number => Number(line.exec(text)?.[1] ?? 0)

/** Represents what answers the streams of one peer. */
export type Act = (stream: MeshStream) => Effect.Effect<unknown, unknown>

/** Represents what of a registration may be told otherwise. */
export interface Registration {
  /** Who registers; somebody new where absent. */
  readonly self?: Endpoint
  readonly info?: Partial<PeerInfo>
  readonly announcement?: Partial<Parameters<typeof Announcement.sign>[1]>
}

/**
 * Registers a peer of `model` that answers every stream with `act`; it is gone with the scope. Returns its link, and
 * what says the same announcement once more.
 */
export const register = Effect.fnUntraced(function* (
  entry: Entry,
  model: string,
  act: Act,
  { announcement: changes, info, self: who }: Registration = {}
) {
  const self = who ?? (yield* endpoint)
  const link = yield* as(self, Link.dial(entry.mesh, { role: "peer", expected: entryId(entry) }))
  const control = yield* ControlPlane.client(link)
  const issuedAtMs = yield* Clock.currentTimeMillis
  const announcement = Announcement.sign(self.identity, {
    info: { ...peerInfo(self.identity.id, [model], 8), ...info },
    audience: entryId(entry),
    sequence: issuedAtMs,
    issuedAtMs,
    expiresAtMs: issuedAtMs + Announcement.validityMs,
    ...changes
  })
  yield* control.Register({ announcement })
  const load = { state: "ready", models: [{ id: model, ready: true, active: 0, queued: 0 }] } as const
  yield* Effect.forkScoped(Effect.repeat(control.Heartbeat({ load }), Schedule.spaced("1 second")))
  yield* Effect.forkScoped(Link.serve(link, ({ stream }) => Effect.zipRight(Effect.ignore(act(stream)), Effect.never)))
  return { link, repeat: control.Register({ announcement }) }
})

/** Returns what answers requests as a script says, on the clock of the test. */
export const saying = (...script: Parameters<typeof scripted>): Effect.Effect<Act, never, Scope.Scope> =>
  Effect.map(scripted(...script).engine, (engine) => (stream) => {
    const taken = { engine: Either.right(engine), done: () => {} }
    return Effect.zipRight(
      Effect.sync(() => GenerateReply.serve(stream, () => taken)),
      stream.closed
    )
  })

/** Asks an entry for an answer of at most 20 tokens, unless `changes` say otherwise. */
export const ask = (
  { url }: Pick<Entry, "url">,
  model: string,
  changes: object = {},
  signal: AbortSignal | null = null
) =>
  Effect.promise(async () => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model,
        messages: [{ role: "user", content: "What is 7 plus 5?" }],
        temperature: 0,
        max_tokens: 20,
        ...changes
      }),
      signal
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  })
