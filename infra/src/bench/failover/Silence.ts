/** How long a client got no text after something was done to the peers that answer it. Pure. */
import type { ChatAnswer } from "../http/ChatStream.ts"

/** Represents the silence of one answer; infinite where no text came any more, or the answer did not come whole. */
export interface Silence {
  /** From `atMs` to the text that ended the longest silence after it. */
  readonly recoveryMs: number
  /** The longest time without text from `atMs` on, up to the end. */
  readonly silenceMs: number
}

/** Returns the silence of an answer from `atMs` on. */
export const after = ({ pieces, whole }: Pick<ChatAnswer, "pieces" | "whole">, atMs: number): Silence => {
  const times = [atMs, ...pieces.map((piece) => piece.atMs).filter((ms) => ms > atMs)]
  const silences = times.slice(1).map((ms, index) => ({ ms: ms - (times[index] ?? ms), endMs: ms }))
  const longest = silences.reduce((most, one) => (one.ms > most.ms ? one : most), { ms: 0, endMs: atMs })
  return whole && silences.length > 0
    ? { recoveryMs: longest.endMs - atMs, silenceMs: longest.ms }
    : { recoveryMs: Number.POSITIVE_INFINITY, silenceMs: Number.POSITIVE_INFINITY }
}
