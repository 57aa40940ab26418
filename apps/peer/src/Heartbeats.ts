/**
 * Which of a peer's looks at its load become a heartbeat. Pure; `EntryLink.ts` looks as often as the entry asks for. A
 * load that stays as it is, is said again now and then only: what both sides do each second costs idle computers power,
 * and a dead link is noticed by its session.
 */
import { PeerLoad } from "@weft/mesh/PeerInfo"
import { Schema } from "effect"

/** Represents what was said last, and how many looks ago; nothing yet where it is undefined. */
export type Heartbeats = { readonly said: PeerLoad; readonly looks: number } | undefined

/** Looks after which the same load is said again; the entry's patience is three times as long. */
export const sameLoadLooks = 5

/** Returns whether `load` is said now, and what holds after this look. */
export const look = (heartbeats: Heartbeats, load: PeerLoad): readonly [isSaid: boolean, next: Heartbeats] => {
  const looks = (heartbeats?.looks ?? 0) + 1
  const isSaid = heartbeats === undefined || looks >= sameLoadLooks || !isSame(heartbeats.said, load)
  return [isSaid, isSaid ? { said: load, looks: 0 } : { said: heartbeats.said, looks }]
}

// internal

const isSame = Schema.equivalence(PeerLoad)
