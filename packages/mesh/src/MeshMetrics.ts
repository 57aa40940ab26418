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

interface Kind {
  readonly layer: Layer
  readonly direction: Session["direction"]
}

/** Counts a session whose handshake is done. */
export const sessionOpened = ({ layer, direction }: Kind): void => sessions.inc({ layer, direction })

/** Counts the end of a session that was counted as opened. */
export const sessionClosed = ({ layer, direction }: Kind, error: SessionError): void => {
  sessions.dec({ layer, direction })
  sessionsClosed.inc({ layer, reason: error.goodbye?.by ?? "lost" })
}

/** Counts a session refused for a reason. */
export const sessionRefused = (reason: RefusedReason): void => sessionsRefused.inc({ reason })

/** Records what a live session measured since its last ping; packets are differences. */
export const sessionMeasured = (
  layer: Layer,
  figures: { readonly rttMs: number | undefined; readonly packetsSent: number; readonly packetsLost: number }
): void => {
  if (figures.rttMs !== undefined) roundTripSeconds.observe({ layer }, figures.rttMs / 1_000)
  if (figures.packetsSent === 0) return
  packetsSent.inc({ layer }, figures.packetsSent)
  // Also by none, so that the series is there before the first loss.
  packetsLost.inc({ layer }, figures.packetsLost)
}
