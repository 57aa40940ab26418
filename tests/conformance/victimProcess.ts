/**
 * The process that gets killed: `bun victimProcess.ts LAYER listen` prints its address and echoes; with an address in
 * place of `listen` it dials there, writes one byte on a stream, and prints a line.
 */
import * as Certificate from "@weft/mesh/Certificate"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { Transport } from "@weft/mesh/Transport"
import * as WebTransport from "@weft/mesh/WebTransport"
import { Effect, Layer } from "effect"
import { serve } from "./serve.ts"

const [layerName, target = "listen"] = process.argv.slice(2)
const options = { host: "127.0.0.1", port: 0 }
const layer = layerName === "quic" ? QuicTransport.layer(options) : WebTransport.layer(options)

const main = Effect.gen(function* () {
  const transport = yield* Transport
  if (target === "listen") {
    console.log(transport.address)
    yield* transport.accept.pipe(
      Effect.flatMap((session) => Effect.forkScoped(serve(session))),
      Effect.forever
    )
  }
  const session = yield* transport.dial(target)
  const stream = yield* session.open
  yield* stream.write(new Uint8Array(1))
  console.log(`dialled ${target} over ${layerName}`)
  yield* Effect.never
})

Effect.runFork(main.pipe(Effect.scoped, Effect.provide(Layer.provide(layer, Certificate.Certificate.layer))))
