/** The conformance suite over QUIC, with real processes as victims. */
import * as Certificate from "@weft/mesh/Certificate"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { Layer } from "effect"
import { transportSuite } from "./transport.ts"
import { victims } from "./victim.ts"

const at = (port: number, limits = {}) =>
  Layer.provide(QuicTransport.layer({ host: "127.0.0.1", port, limits }), Certificate.Certificate.layer)

transportSuite("QUIC", {
  layer: (limits) => at(0, limits),
  layerAt: (address) => at(Number(address.split(":").at(-1))),
  deadAddress: "quic://127.0.0.1:9",
  bulkBytes: 64 * 1024 * 1024,
  ...victims("quic")
})
