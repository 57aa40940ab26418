/** What only WebTransport has: pinned addresses, and a package that talks. */
import { describe, expect } from "bun:test"
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import * as Certificate from "@weft/mesh/Certificate"
import { Transport } from "@weft/mesh/Transport"
import * as WebTransport from "@weft/mesh/WebTransport"
import { Context, Duration, Effect, Layer } from "effect"
import { it } from "../support/effect.ts"

const build = Effect.map(
  Layer.build(Layer.provideMerge(WebTransport.layer({ host: "127.0.0.1", port: 0 }), Certificate.Certificate.layer)),
  (context) => ({
    transport: Context.get(context, Transport),
    sha256: Context.get(context, Certificate.Certificate).sha256
  })
)

describe("WebTransport", () => {
  it.live("an address with the right hash is dialled, one with another hash is refused", () =>
    Effect.gen(function* () {
      const { transport, sha256 } = yield* build
      const session = yield* transport.dial(`${transport.address}#sha256=${sha256.toHex()}`)
      expect(session.serverCertificateSha256).toEqual(sha256)
      const other = sha256.map((byte) => byte ^ 1)
      const error = yield* Effect.flip(transport.dial(`${transport.address}#sha256=${other.toHex()}`))
      expect(error.reason).toBe("DialFailed")
    })
  )

  it.live("a connection that carries no session is closed after ten seconds", () =>
    Effect.gen(function* () {
      const { transport } = yield* build
      const port = Number(new URL(transport.address).port)
      const to = { host: "127.0.0.1", port, rejectUnauthorized: false, ALPNProtocols: ["h2"] }
      const closed = (make: () => Socket) =>
        Effect.acquireRelease(Effect.sync(make), (socket) => Effect.sync(() => socket.destroy())).pipe(
          Effect.flatMap((socket) =>
            Effect.async<void>((resume) => void socket.resume().on("close", () => resume(Effect.void)))
          ),
          Effect.timed,
          Effect.map(([duration]) => Duration.toSeconds(duration)),
          Effect.timeout("30 seconds")
        )
      const seconds = yield* Effect.all([closed(() => connectTls(to)), closed(() => connect(to))], { concurrency: 2 })
      expect(Math.min(...seconds)).toBeGreaterThan(9)
    })
  )

  for (const layer of ["quic", "webtransport"]) {
    it.live(`a process that uses ${layer} prints nothing of its library's`, () =>
      Effect.gen(function* () {
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            Bun.spawn([process.execPath, `${import.meta.dir}/../conformance/victimProcess.ts`, layer, "listen"], {
              stdout: "pipe",
              stderr: "pipe"
            })
          ),
          (spawned) => Effect.sync(() => spawned.kill("SIGKILL"))
        )
        const first = yield* Effect.promise(() => child.stdout.getReader().read())
        const { transport } = yield* build
        const address = new TextDecoder().decode(first.value).trim()
        expect(address).toMatch(/^(quic|https):\/\/127\.0\.0\.1:\d+(\/weft)?$/)
        if (layer === "webtransport") yield* transport.dial(address)
        child.kill("SIGKILL")
        expect(yield* Effect.promise(() => new Response(child.stderr).text())).toBe("")
      })
    )
  }
})
