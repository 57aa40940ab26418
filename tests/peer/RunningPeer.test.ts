/** `peer.json` from start to stop, and what a stale or spoilt one leads to. */
import { expect } from "bun:test"
import { FetchHttpClient, FileSystem } from "@effect/platform"
import { BunContext } from "@effect/platform-bun"
import type { PeerStatus } from "@weft/peer/PeerStatus"
import * as RunningPeer from "@weft/peer/RunningPeer"
import { Effect, Exit, Layer, Scope } from "effect"
import { peerId } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { directory } from "../support/processes.ts"

const status: PeerStatus = {
  id: peerId(1),
  name: "ada",
  version: "0.0.0",
  state: "connecting",
  entry: { url: "http://entry" },
  models: [],
  lends: [],
  leases: [],
  groups: [],
  answers: { active: 0, finished: 0, failed: 0, cancelled: 0 },
  upSeconds: 1
}

const inDirectory = <A, E>(
  body: (
    path: string,
    fs: FileSystem.FileSystem
  ) => Effect.Effect<A, E, Layer.Layer.Success<typeof services> | Scope.Scope>
) =>
  Effect.gen(function* () {
    return yield* body(yield* directory, yield* FileSystem.FileSystem)
  }).pipe(Effect.provide(services))
const services = Layer.merge(BunContext.layer, FetchHttpClient.layer)

const serve = (answer: () => Response | Promise<Response>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer })),
      (server) => Effect.promise(() => server.stop(true))
    ),
    (server) => `http://127.0.0.1:${server.port}`
  )

it.live("a running peer is found by its directory, keeps a second one out, and is gone with its scope", () =>
  inDirectory((path, fs) =>
    Effect.gen(function* () {
      const url = yield* serve(() => Response.json(status))
      const scope = yield* Scope.make()
      yield* RunningPeer.assertNone(path)
      yield* Scope.extend(RunningPeer.publish(path, url), scope)
      expect((yield* fs.stat(`${path}/peer.json`)).mode & 0o777).toBe(0o600)
      expect(yield* RunningPeer.status(path)).toEqual(status)
      const second = yield* Effect.flip(RunningPeer.assertNone(path))
      expect(second).toMatchObject({ _tag: "AlreadyRunning", pid: process.pid })
      expect(second.message).toContain(path)
      yield* Scope.close(scope, Exit.void)
      expect(yield* fs.exists(`${path}/peer.json`)).toBe(false)
      expect((yield* Effect.flip(RunningPeer.status(path))).message).toContain("No peer runs")
    })
  )
)

/** What a peer that was killed may have left, or what now listens where it did. */
const stale: ReadonlyArray<
  readonly [name: string, text: (url: string) => string, answer: () => Response | Promise<Response>]
> = [
  [
    "an address where nobody listens",
    () => JSON.stringify({ pid: 1, url: "http://127.0.0.1:9" }),
    () => new Response()
  ],
  ["half a file", () => '{"pid": 1, "ur', () => new Response()],
  ["an empty file", () => "", () => new Response()],
  ["something else", () => "[1, 2]", () => new Response()],
  ["an address that is none", () => JSON.stringify({ pid: 1, url: "no url" }), () => new Response()],
  ["another program's page", (url) => JSON.stringify({ pid: 1, url }), () => new Response("<html>")],
  ["another program's JSON", (url) => JSON.stringify({ pid: 1, url }), () => Response.json({ id: "x" })],
  ["another program's error", (url) => JSON.stringify({ pid: 1, url }), () => new Response("", { status: 500 })],
  ["a program that never answers", (url) => JSON.stringify({ pid: 1, url }), () => new Promise<Response>(() => {})]
]
for (const [name, text, answer] of stale) {
  it.live(`a peer.json with ${name} counts as no running peer, and a new peer takes its place`, () =>
    inDirectory((path, fs) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${path}/peer.json`, text(yield* serve(answer)))
        expect((yield* Effect.flip(RunningPeer.status(path)))._tag).toBe("NotRunning")
        yield* RunningPeer.assertNone(path)
        yield* RunningPeer.publish(path, yield* serve(() => Response.json(status)))
        expect((yield* RunningPeer.status(path)).name).toBe("ada")
      })
    )
  )
}
