/** Finding an entry, asked of real servers on loopback that give everything but a description. */
import { expect } from "bun:test"
import { FetchHttpClient } from "@effect/platform"
import * as EntryDiscovery from "@weft/peer/EntryDiscovery"
import { Effect } from "effect"
import { peerId } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"

const description = {
  peerId: peerId(1),
  meshAddresses: ["quic://0.0.0.0:4433"],
  protocolVersion: 1,
  version: "0.0.0"
}

/** Serves on a free port of loopback until the scope closes; returns its URL. */
const serve = (answer: (path: string) => Response | Promise<Response>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => answer(new URL(request.url).pathname) })
      ),
      (server) => Effect.promise(() => server.stop(true))
    ),
    (server) => `http://127.0.0.1:${server.port}`
  )
const discover = (url: string) => Effect.provide(EntryDiscovery.discover(url), FetchHttpClient.layer)

it.live("an entry is found by its URL, however that ends, and the clocks are compared", () =>
  Effect.gen(function* () {
    const headers = { date: new Date(Date.now() - 60_000).toUTCString() }
    const url = yield* serve((path) =>
      path === "/.well-known/weft" ? Response.json(description, { headers }) : new Response("", { status: 404 })
    )
    for (const written of [url, `${url}/`, `${url}///`]) {
      const found = yield* discover(written)
      expect(found.description).toEqual(description)
      expect(found.clockSkewMs).toBeGreaterThan(58_000)
      expect(found.clockSkewMs).toBeLessThan(70_000)
    }
  })
)

const endless = () => {
  const piece = new Uint8Array(64 * 1024).fill(0x20)
  let sent = 0
  return new ReadableStream({
    pull: (controller) => {
      sent += piece.length
      // More than a test could hold: who reads it all is killed or late.
      if (sent > 8 * 1024 ** 3) controller.close()
      else controller.enqueue(piece)
    }
  })
}

const useless: ReadonlyArray<readonly [name: string, answer: () => Response]> = [
  ["an error", () => Response.json(description, { status: 500 })],
  ["a page", () => new Response("<html>hello</html>")],
  ["nothing", () => new Response("")],
  ["an id that is none", () => Response.json({ ...description, peerId: "peer" })],
  ["no address", () => Response.json({ ...description, meshAddresses: [] })],
  ["too many addresses", () => Response.json({ ...description, meshAddresses: Array(17).fill("quic://a:1") })],
  ["a body without an end", () => new Response(endless())],
  ["a large body", () => Response.json({ ...description, more: "x".repeat(1024 * 1024) })]
]
for (const [name, answer] of useless) {
  it.live(`a server that gives ${name} is no entry, and the message names it and what to do`, () =>
    Effect.gen(function* () {
      const url = yield* serve(answer)
      const error = yield* Effect.timeout(Effect.flip(discover(url)), "5 seconds")
      expect(error._tag).toBe("EntryUnreachable")
      expect(error.message).toContain(url)
      expect(error.message).toContain("--entry")
    })
  )
}

it.live("where nobody listens, and what is no URL, is said to be unreachable", () =>
  Effect.gen(function* () {
    for (const url of ["http://127.0.0.1:9", "no url", "http://", "ftp://127.0.0.1/"]) {
      expect((yield* Effect.flip(discover(url)))._tag).toBe("EntryUnreachable")
    }
  })
)

it.live(
  "a server that never answers, or stops in the middle, is given up after ten seconds",
  () =>
    Effect.gen(function* () {
      const silent = yield* serve(() => new Promise<Response>(() => {}))
      const half = yield* serve(
        () => new Response(new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array([123])) }))
      )
      const errors = yield* Effect.all([Effect.flip(discover(silent)), Effect.flip(discover(half))], { concurrency: 2 })
      expect(errors.map(({ _tag }) => _tag)).toEqual(["EntryUnreachable", "EntryUnreachable"])
    }),
  15_000
)

it.effect("the host we reached an entry by stands in where it names none; all else is dialled as it is", () =>
  Effect.sync(() => {
    const dialable = EntryDiscovery.dialable
    expect(dialable("quic://0.0.0.0:4433", "http://10.0.0.7:8080")).toBe("quic://10.0.0.7:4433")
    expect(dialable("quic://[::]:4433", "http://entry.example")).toBe("quic://entry.example:4433")
    expect(dialable("quic://0.0.0.0:4433", "http://[::1]:8080/")).toBe("quic://[::1]:4433")
    expect(dialable("https://0.0.0.0:443/weft", "http://10.0.0.7")).toBe("https://10.0.0.7:443/weft")
    expect(dialable("quic://192.168.0.2:4433", "http://10.0.0.7")).toBe("quic://192.168.0.2:4433")
    for (const garbage of ["", "quic://", "0.0.0.0:4433", "quic://0.0.0.0:99999", "\u0000"]) {
      expect(dialable(garbage, "http://10.0.0.7")).toBe(garbage)
    }
  })
)
