/**
 * Pure: decides from ticks whether the other side still lives. Time is counted by our own ticks and no tick counts for
 * more than one and a half of its interval, so a stall of our own process does not count against the other side.
 */

/** Every side looks this often, and counts one tick of silence when nothing at all came since the last. */
export const tickMs = 300

/**
 * Silence after which the other side is dead. Five ticks; with the tick in which the last byte came, a dead process is
 * noticed within 1.8 s, and a loss burst of about a second is survived. A little under five ticks, as timers are early
 * by fractions of a millisecond.
 */
export const silenceMsMax = 1_450

/** Represents what the last tick saw. */
export interface Liveness {
  readonly atMs: number
  readonly bytesReceived: number
  readonly silenceMs: number
}

/** Returns the state at the start of a session. */
export const initial = (nowMs: number): Liveness => ({ atMs: nowMs, bytesReceived: 0, silenceMs: 0 })

/** Returns the state after a tick at `nowMs`, by when `bytesReceived` bytes had come in all. */
export const tick = (state: Liveness, nowMs: number, bytesReceived: number): Liveness => ({
  atMs: nowMs,
  bytesReceived,
  silenceMs: bytesReceived > state.bytesReceived ? 0 : state.silenceMs + Math.min(nowMs - state.atMs, tickMs * 1.5)
})

/**
 * Returns whether to ping at this tick. Who heard something since the last one knows that the other side lives, and the
 * other side pings too when it hears nothing: an idle session has one ping and its answer within a tick or two.
 */
export const wantsPing = (state: Liveness): boolean => state.silenceMs > 0

/** Returns whether the other side must be given up. */
export const isDead = (state: Liveness): boolean => state.silenceMs >= silenceMsMax
