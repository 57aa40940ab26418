/** What a signed announcement is worth: to one entry, from one peer, once, within a minute, and not a bit otherwise. */
import { expect } from "bun:test"
import * as Announcement from "@weft/mesh/Announcement"
import { candidatesMax } from "@weft/mesh/election/ElectionProtocol"
import * as Frames from "@weft/mesh/Frames"
import { Identity } from "@weft/mesh/Identity"
import * as Mesh from "@weft/mesh/MeshProtocol"
import * as Msgpack from "@weft/mesh/Msgpack"
import type { PeerId } from "@weft/mesh/PeerId"
import { modelsMax, PeerInfo, stageOffersMax } from "@weft/mesh/PeerInfo"
import { Arbitrary, Effect, Either, FastCheck, Schema } from "effect"
import { it } from "../support/effect.ts"
import { peerId, peerInfo } from "./peers.ts"

const identity = Effect.runSync(Effect.provide(Identity, Identity.layerEphemeral))
const stranger = Effect.runSync(Effect.provide(Identity, Identity.layerEphemeral))
const audience = peerId(1)
const now = 1_700_000_000_000

const honest: Mesh.Announcement = {
  info: peerInfo(identity.id, ["tiny"]),
  audience,
  sequence: 5,
  issuedAtMs: now,
  expiresAtMs: now + Announcement.validityMs
}

interface Expected {
  readonly sender: PeerId
  readonly audience: PeerId
  readonly lastSequence: number
  readonly now: number
}
const expected: Expected = { sender: identity.id, audience, lastSequence: 4, now }

const open = (changes: Partial<Mesh.Announcement>, at: Partial<Expected> = {}) =>
  Announcement.open(Announcement.sign(identity, { ...honest, ...changes }), { ...expected, ...at })
const reason = (...args: Parameters<typeof open>) =>
  Either.match(open(...args), { onLeft: (refused) => refused.reason, onRight: () => undefined })

it.effect("an honest announcement is taken as it was made", () =>
  Effect.sync(() => {
    expect(Either.getOrThrow(open({}))).toEqual(honest)
  })
)

it.effect("a repeated number and a lower one are refused, on the very next higher one it is taken", () =>
  Effect.sync(() => {
    expect(reason({}, { lastSequence: 5 })).toBe("Replayed")
    expect(reason({}, { lastSequence: 6 })).toBe("Replayed")
    expect(reason({ sequence: 7 }, { lastSequence: 6 })).toBeUndefined()
  })
)

it.effect("one made for another entry, by another peer or about another peer is refused", () =>
  Effect.sync(() => {
    expect(reason({}, { audience: peerId(2) })).toBe("Audience")
    expect(reason({}, { sender: stranger.id })).toBe("Signature")
    expect(reason({ info: peerInfo(stranger.id, []) })).toBe("Sender")
    const forged = { ...Announcement.sign(identity, honest), signature: stranger.sign(new Uint8Array(9)) }
    expect(Either.isLeft(Announcement.open(forged, expected))).toBe(true)
  })
)

it.effect("its time is a minute and half a minute of crooked clocks, to the millisecond", () =>
  Effect.sync(() => {
    const { skewMsMax, validityMs } = Announcement
    expect(reason({}, { now: now + validityMs + skewMsMax })).toBeUndefined()
    expect(reason({}, { now: now + validityMs + skewMsMax + 1 })).toBe("Expired")
    expect(reason({}, { now: now - skewMsMax })).toBeUndefined()
    expect(reason({}, { now: now - skewMsMax - 1 })).toBe("Expired")
    expect(reason({ expiresAtMs: now + validityMs + 1 })).toBe("Expired")
  })
)

it.effect("a bit flipped in any byte of the text or of the signature is noticed", () =>
  Effect.sync(() => {
    const signed = Announcement.sign(identity, honest)
    for (const part of ["bytes", "signature"] as const) {
      for (let i = 0; i < signed[part].length; i++) {
        const bent = signed[part].slice()
        bent[i] = (bent[i] ?? 0) ^ (1 << (i % 8))
        const opened = Announcement.open({ ...signed, [part]: bent }, expected)
        expect(Either.isLeft(opened) && opened.left.reason).toBe("Signature")
      }
    }
  })
)

it.effect("bytes that are signed but say something else are malformed, not a crash", () =>
  Effect.sync(() => {
    const domain = new TextEncoder().encode("weft/announce/1\0")
    const sign = (bytes: Uint8Array) => identity.sign(new Uint8Array(Buffer.concat([domain, bytes])))
    for (const bytes of [
      new Uint8Array(0),
      Uint8Array.of(0xc1),
      Msgpack.encode(null),
      Msgpack.encode({ ...honest, sequence: -1 }),
      Msgpack.encode({ ...honest, info: { ...honest.info, models: Array(65).fill(honest.info.models[0]) } }),
      new Uint8Array(Buffer.concat([Msgpack.encode(honest), Uint8Array.of(0)]))
    ]) {
      const opened = Announcement.open({ bytes, signature: sign(bytes) }, expected)
      expect(Either.isLeft(opened) && opened.left.reason).toBe("Malformed")
    }
    const bytes = Msgpack.encode(honest)
    const withoutDomain = Announcement.open({ bytes, signature: identity.sign(bytes) }, expected)
    expect(Either.isLeft(withoutDomain) && withoutDomain.left.reason).toBe("Signature")
  })
)

it.effect("whatever capabilities a peer has come through as they were said", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(PeerInfo), FastCheck.nat(), (info, sequence) => {
        const said = { ...honest, sequence, info: { ...info, id: identity.id } }
        const opened = Announcement.open(Announcement.sign(identity, said), { ...expected, lastSequence: sequence - 1 })
        expect(Either.getOrThrow(opened)).toEqual(said)
      }),
      { numRuns: 300 }
    )
  )
)

it.effect("the largest capabilities that a peer may have fit an announcement that travels", () =>
  Effect.sync(() => {
    const text = (length: number) => "\u20ac".repeat(length)
    const stage = { peer: identity.id, from: 300, to: 512 }
    const model = {
      id: text(256),
      sha256: "0".repeat(64),
      sizeBytes: Number.MAX_SAFE_INTEGER,
      architecture: text(64),
      quantization: text(32),
      contextTokens: Number.MAX_SAFE_INTEGER,
      slots: Number.MAX_SAFE_INTEGER,
      stages: Array.from({ length: 16 }, () => stage)
    }
    const { stages: _, ...plain } = model
    const offer = {
      model,
      layers: 512,
      memoryBytes: Number.MAX_SAFE_INTEGER,
      layerBytes: Array.from({ length: 512 }, () => Number.MAX_SAFE_INTEGER),
      embeddingBytes: Number.MAX_SAFE_INTEGER,
      headBytes: Number.MAX_SAFE_INTEGER,
      cellBytesPerTokenLayer: Number.MAX_SAFE_INTEGER,
      cuts: Array.from({ length: 512 }, () => 512),
      held: Array.from({ length: 64 }, () => ({ from: 300, to: 512 })),
      only: { from: 300, to: 512 }
    }
    const info = {
      ...honest.info,
      name: text(64),
      version: text(32),
      models: Array.from({ length: modelsMax }, () => model),
      stages: Array.from({ length: stageOffersMax }, () => offer),
      solo: {
        usableBytes: Number.MAX_SAFE_INTEGER,
        candidates: Array.from({ length: candidatesMax }, () => ({ model: plain, needBytes: Number.MAX_SAFE_INTEGER }))
      }
    }
    const said = { ...honest, info }
    const signed = Announcement.sign(identity, said)
    expect(Either.isRight(Schema.decodeEither(Mesh.SignedAnnouncement)(signed))).toBe(true)
    expect(signed.bytes.length + 1024).toBeLessThan(Frames.frameBytesMax)
    expect(Either.getOrThrow(Announcement.open(signed, expected))).toEqual(said)
  })
)
