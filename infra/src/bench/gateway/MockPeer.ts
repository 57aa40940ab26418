/**
 * A peer whose engine answers at once with a fixed text: everything else is a peer's own, the QUIC session, the hello,
 * the registration, the streams and their credit. Started with the entry's URL; prints `registered`.
 */
import { FetchHttpClient } from "@effect/platform"
import * as Program from "@weft/actors/Program"
import type { WholeEngine } from "@weft/engine/EngineSupervisor"
import { Certificate } from "@weft/mesh/Certificate"
import { Identity } from "@weft/mesh/Identity"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { version } from "@weft/mesh/Version"
import { Answers } from "@weft/peer/Answers"
import * as Engines from "@weft/peer/Engines"
import { EntryLink } from "@weft/peer/EntryLink"
import { Solo } from "@weft/peer/election/Solo"
import { Splits } from "@weft/peer/Splits"
import { Console, Effect, Layer } from "effect"
import { answerEvents, mockModelName } from "./Answer.ts"

/** More than the generator ever has under way, so that admission never holds a request back. */
const slots = 256

const engine: WholeEngine = {
  setup: Effect.succeed("mock"),
  model: {
    id: mockModelName,
    sha256: "0".repeat(64),
    sizeBytes: 1,
    architecture: "mock",
    quantization: "none",
    contextTokens: 4096,
    slots
  },
  generate: (_request, listen) => {
    listen(answerEvents)
    return () => {}
  },
  load: Effect.succeed({ state: "ready", active: 0, queued: 0, restarts: 0 }),
  hostProcessId: Effect.succeed(undefined)
}

const run = Effect.gen(function* () {
  const { id } = yield* Identity
  const entryLink = EntryLink.layer({
    url: process.argv[2] ?? "",
    info: { id, name: "mock", version, memoryBytes: 2 ** 30, threads: 1 },
    onRegistered: () => Console.log(JSON.stringify({ event: "registered", id })),
    onLost: (why) => Console.error(why)
  })
  return yield* Layer.launch(
    entryLink.pipe(
      Layer.provide(Answers.layer),
      Layer.provide(Layer.effect(Engines.Engines, Engines.make([engine]))),
      Layer.provide([Solo.layerNone, Splits.layerNone])
    )
  )
})

const transport = QuicTransport.layer({ host: "127.0.0.1", port: 0 }).pipe(Layer.provide(Certificate.layer))

Program.run(Effect.provide(run, [transport, Identity.layerEphemeral, FetchHttpClient.layer]), { name: "mock peer" })
