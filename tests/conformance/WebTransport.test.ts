/** The conformance suite over WebTransport, with real processes as victims. */
import * as Certificate from "@weft/mesh/Certificate"
import * as WebTransport from "@weft/mesh/WebTransport"
import { Layer } from "effect"
import { transportSuite } from "./transport.ts"
import { victims } from "./victim.ts"

const at = (port: number, limits = {}) =>
  Layer.provide(WebTransport.layer({ host: "127.0.0.1", port, limits }), Certificate.Certificate.layer)

transportSuite("WebTransport", {
  layer: (limits) => at(0, limits),
  layerAt: (address) => at(Number(new URL(address).port)),
  deadAddress: "https://127.0.0.1:9/weft",
  bulkBytes: 64 * 1024 * 1024,
  ...victims("webtransport")
})
