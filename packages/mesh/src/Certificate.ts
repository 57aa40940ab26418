/**
 * The TLS certificate a process makes for itself at start. It proves nothing by itself: `Hello` ties its SHA-256 to the
 * identity key. One ECDSA P-256 certificate serves every layer, because browsers refuse Ed25519 and pin by hash only
 * P-256 certificates of at most 14 days, and Bun's QUIC takes P-256 as well.
 */
import "reflect-metadata"
import { X509CertificateGenerator } from "@peculiar/x509"
import { Clock, Context, Duration, Effect, Layer } from "effect"

/** Represents a self-signed certificate and its private key. */
export interface CertificateKeyPair {
  /** Certificate, PEM. */
  readonly certPem: string
  /** Private key, PKCS #8 PEM. Secret. */
  readonly keyPem: string
  /** Certificate, DER. */
  readonly certDer: Uint8Array
  /** SHA-256 of `certDer`, 32 bytes. */
  readonly sha256: Uint8Array
}

/** Browsers accept a pinned certificate for at most 14 days; one day is kept for clocks that go wrong. */
const lifetime = Duration.days(12)

/** Clocks of volunteers' machines are off by minutes, rarely by more than this. */
const backdated = Duration.days(1)

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const

const pem = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${(der.toBase64().match(/.{1,64}/g) ?? []).join("\n")}\n-----END ${label}-----\n`

const generate = (nowMs: number): Promise<CertificateKeyPair> =>
  crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]).then((keys) =>
    X509CertificateGenerator.createSelfSigned({
      name: "CN=weft",
      keys,
      signingAlgorithm: algorithm,
      notBefore: new Date(nowMs - Duration.toMillis(backdated)),
      notAfter: new Date(nowMs + Duration.toMillis(lifetime))
    }).then((certificate) =>
      crypto.subtle.exportKey("pkcs8", keys.privateKey).then((key) => {
        const certDer = new Uint8Array(certificate.rawData)
        return {
          certPem: pem("CERTIFICATE", certDer),
          keyPem: pem("PRIVATE KEY", new Uint8Array(key)),
          certDer,
          sha256: sha256(certDer)
        }
      })
    )
  )

/** Returns the SHA-256 of a DER certificate, 32 bytes. */
export const sha256 = (der: Uint8Array): Uint8Array =>
  new Uint8Array(new Bun.CryptoHasher("sha256").update(der).digest())

/** Makes a fresh certificate, valid from a day ago for 13 days in all. */
export const make: Effect.Effect<CertificateKeyPair> = Clock.currentTimeMillis.pipe(
  Effect.flatMap((now) => Effect.promise(() => generate(now)))
)

/** The certificate of this process, shared by its layers. */
export class Certificate extends Context.Tag("@weft/mesh/Certificate")<Certificate, CertificateKeyPair>() {
  /** Makes one certificate when the layer is built. */
  static readonly layer = Layer.effect(Certificate, make)
}
