/**
 * Who is let in: an honest hello passes, and a signature is worth nothing in any other session, side or certificate.
 */
import { expect } from "bun:test"
import * as Hello from "@weft/mesh/Hello"
import { Identity } from "@weft/mesh/Identity"
import { Effect } from "effect"
import { it } from "../support/effect.ts"

const identity = Identity.pipe(Effect.provide(Identity.layerEphemeral))
const certificate = new Uint8Array(32).fill(1)

/** A hello as two honest sides exchange it. */
const exchange = Effect.gen(function* () {
  const dialler = yield* identity
  const listener = yield* identity
  const offer = Hello.Offer.make({ version: 1, id: dialler.id, role: "peer", nonce: new Uint8Array(32).fill(2) })
  const unsigned = {
    _tag: "Accept",
    version: 1,
    id: listener.id,
    role: "entry",
    nonce: new Uint8Array(32).fill(3)
  } as const
  const accept = Hello.Accept.make({
    ...unsigned,
    signature: listener.sign(Hello.transcript("listener", offer, unsigned, certificate))
  })
  const proof = Hello.Proof.make({ signature: dialler.sign(Hello.transcript("dialler", offer, accept, certificate)) })
  return { dialler, listener, offer, accept, proof }
})

it.effect("an honest hello is accepted by both sides", () =>
  Effect.gen(function* () {
    const { accept, listener, offer, proof } = yield* exchange
    expect(Hello.judgeOffer(offer, listener.id, "peer")).toBeUndefined()
    expect(Hello.judgeAccept(offer, accept, certificate, listener.id)).toBeUndefined()
    expect(Hello.judgeProof(offer, accept, proof, certificate)).toBeUndefined()
  })
)

it.effect("an old version, another identity, the own id and another role are refused with their reason", () =>
  Effect.gen(function* () {
    const { accept, dialler, listener, offer } = yield* exchange
    expect(Hello.judgeOffer({ ...offer, version: 0 }, listener.id, "peer")?.reason).toBe("ProtocolVersion")
    expect(Hello.judgeOffer(offer, offer.id, "peer")?.reason).toBe("Identity")
    expect(Hello.judgeOffer(offer, listener.id, "entry")?.reason).toBe("Role")
    expect(Hello.judgeAccept(offer, accept, certificate, dialler.id)?.reason).toBe("Identity")
  })
)

it.effect("signatures are bound to session, certificate, side and role: none can be used elsewhere", () =>
  Effect.gen(function* () {
    const { accept, listener, offer, proof } = yield* exchange
    const otherCertificate = new Uint8Array(32).fill(9)
    const otherNonce = new Uint8Array(32).fill(8)
    const refusal = (refused: Hello.HelloRefused | undefined) => refused?.reason
    expect(refusal(Hello.judgeAccept(offer, accept, otherCertificate, listener.id))).toBe("Signature")
    expect(refusal(Hello.judgeAccept({ ...offer, nonce: otherNonce }, accept, certificate, listener.id))).toBe(
      "Signature"
    )
    expect(refusal(Hello.judgeAccept(offer, { ...accept, role: "peer" }, certificate, listener.id))).toBe("Signature")
    expect(refusal(Hello.judgeProof(offer, accept, proof, otherCertificate))).toBe("Signature")
    expect(refusal(Hello.judgeProof({ ...offer, role: "entry" }, accept, proof, certificate))).toBe("Signature")
    expect(refusal(Hello.judgeProof(offer, { ...accept, nonce: otherNonce }, proof, certificate))).toBe("Signature")
    expect(refusal(Hello.judgeProof(offer, accept, { ...proof, signature: accept.signature }, certificate))).toBe(
      "Signature"
    )
  })
)
