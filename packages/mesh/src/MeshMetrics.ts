/**
 * Counters of sessions and packets, in prom-client's global register. Set where the state changes: `Session.ts` and
 * whoever says Hello. opened − closed = the gauge of live sessions.
 */
import { Counter, Gauge, Histogram } from "prom-client"
import type { SessionError } from "./MeshError.ts"
import type { Session } from "./Transport.ts"

/** Names the layer that a session runs on. */
export type Layer = "quic" | "webtransport" | "memory"

/** Names why a session was refused before it served anything. */
export type RefusedReason = "protocol_version" | "identity" | "malformed" | "limit" | "timeout"

const sessions = new Gauge({
  name: "weft_quic_sessions",
  help: "Live transport sessions, from the end of the handshake to the close",
  labelNames: ["layer", "direction"] as const
})

const roundTripSeconds = new Histogram({
  name: "weft_session_rtt_seconds",
  help: "Smoothed round-trip time of every live session, observed at each of its pings",
  labelNames: ["layer"] as const,
  // From one machine to the other side of the world and a bad line.
  buckets: [0.000_2, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 1]
})

const sessionsOpened = new Counter({
  name: "weft_sessions_opened_total",
  help: "Sessions whose handshake was done; minus those closed they are the live ones",
  labelNames: ["layer", "direction"] as const
})

const bytesSent = new Counter({
  name: "weft_session_bytes_sent_total",
  help: "Bytes sent, brought up to date at each ping: whole UDP payloads over quic, what streams carried elsewhere",
  labelNames: ["layer"] as const
})

const bytesReceived = new Counter({
  name: "weft_session_bytes_received_total",
  help: "Bytes received, brought up to date at each ping: whole UDP payloads over quic, what streams carried elsewhere",
  labelNames: ["layer"] as const
})

const packetsReceived = new Counter({
  name: "weft_packets_received_total",
  help: "Packets received by layers that count them, brought up to date at each ping",
  labelNames: ["layer"] as const
})

const packetsSent = new Counter({
  name: "weft_packets_sent_total",
  help: "Packets sent by layers that count them, brought up to date at each ping",
  labelNames: ["layer"] as const
})

const packetsLost = new Counter({
  name: "weft_packets_lost_total",
  help: "Packets declared lost by layers that count them; reordering is counted as loss; compare with packets sent",
  labelNames: ["layer"] as const
})

const sessionsClosed = new Counter({
  name: "weft_sessions_closed_total",
  help: "Sessions that are over, by reason: us, them (who left with a code) or lost",
  labelNames: ["layer", "reason"] as const
})

const sessionsRefused = new Counter({
  name: "weft_sessions_refused_total",
  help: "Sessions refused before they served anything; not those whose TLS handshake failed",
  labelNames: ["reason"] as const
})
const refusedReasons: ReadonlyArray<RefusedReason> = ["protocol_version", "identity", "malformed", "limit", "timeout"]
// A series that begins with its first event hides it from `increase`.
for (const reason of refusedReasons) sessionsRefused.inc({ reason }, 0)

interface Kind {
  readonly layer: Layer
  readonly direction: Session["direction"]
}

/** Counts a session whose handshake is done. */
export const sessionOpened = ({ layer, direction }: Kind): void => {
  sessions.inc({ layer, direction })
  sessionsOpened.inc({ layer, direction })
  for (const reason of ["us", "them", "lost"]) sessionsClosed.inc({ layer, reason }, 0)
}

/** Counts the end of a session that was counted as opened. */
export const sessionClosed = ({ layer, direction }: Kind, error: SessionError): void => {
  sessions.dec({ layer, direction })
  sessionsClosed.inc({ layer, reason: error.goodbye?.by ?? "lost" })
}

/** Counts a session refused for a reason. */
export const sessionRefused = (reason: RefusedReason): void => sessionsRefused.inc({ reason })

/** Represents what a session counted in all; packets are 0 where its layer counts none. */
export interface SessionTotals {
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly packetsLost: number
}

/** What a session has counted before it begins. */
export const noTotals: SessionTotals = {
  bytesSent: 0,
  bytesReceived: 0,
  packetsSent: 0,
  packetsReceived: 0,
  packetsLost: 0
}

/** Records what a live session counted between `before` and `now`, and its round-trip time where it is known. */
export const sessionMeasured = (
  layer: Layer,
  rttMs: number | undefined,
  before: SessionTotals,
  now: SessionTotals
): void => {
  if (rttMs !== undefined) roundTripSeconds.observe({ layer }, rttMs / 1_000)
  bytesSent.inc({ layer }, now.bytesSent - before.bytesSent)
  bytesReceived.inc({ layer }, now.bytesReceived - before.bytesReceived)
  if (now.packetsSent === before.packetsSent) return
  packetsSent.inc({ layer }, now.packetsSent - before.packetsSent)
  packetsReceived.inc({ layer }, now.packetsReceived - before.packetsReceived)
  // Also by none, so that the series is there before the first loss.
  packetsLost.inc({ layer }, now.packetsLost - before.packetsLost)
}
