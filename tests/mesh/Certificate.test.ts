/** The certificate a process makes for itself. */
import { describe, expect } from "bun:test"
import { createPrivateKey, X509Certificate } from "node:crypto"
import * as Certificate from "@weft/mesh/Certificate"
import { Clock, Duration, Effect } from "effect"
import { it } from "../support/effect.ts"

describe("Certificate", () => {
  it.live("it is what browsers pin: P-256, at most 13 days, its key its own", () =>
    Effect.gen(function* () {
      const made = yield* Certificate.make
      const parsed = new X509Certificate(made.certPem)
      const now = yield* Clock.currentTimeMillis
      const [from, to] = [new Date(parsed.validFrom).getTime(), new Date(parsed.validTo).getTime()]
      expect(parsed.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1")
      expect(to - from).toBeLessThanOrEqual(Duration.toMillis("13 days"))
      expect(from).toBeLessThan(now)
      expect(to - now).toBeGreaterThan(Duration.toMillis("11 days"))
      expect(parsed.checkPrivateKey(createPrivateKey(made.keyPem))).toBe(true)
    })
  )

  it.live("its hash is the fingerprint of its DER, and every process has another", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* Certificate.make, yield* Certificate.make]
      const fingerprint = new X509Certificate(one.certDer).fingerprint256.replaceAll(":", "").toLowerCase()
      expect(one.sha256.toHex()).toBe(fingerprint)
      expect(one.sha256).not.toEqual(other.sha256)
    })
  )
})
