/** Two entries, late and doubled words, deaths: one lease at a time, memory kept, models served. */
import { expect, test } from "bun:test"
import { isLeased } from "@weft/mesh/election/ElectionState"
import { calmMs, endMs, type SimulatedPeer, World } from "./electing.ts"

const seeds = 1_000

const entriesOf = (world: World, peer: SimulatedPeer) =>
  world.entries.filter(({ state }) => {
    const elected = state.get(peer.id)
    return elected !== undefined && isLeased(elected, world.now)
  })

/** Throws with plain comparisons: an `expect` for each of some million steps would be most of the test's time. */
const checkStep = (world: World): void => {
  for (const peer of world.peers) {
    if (!peer.isAlive) continue
    if (peer.takenBytes > peer.offer.usableBytes) throw new Error(`memory at ${world.now}`)
    const entries = entriesOf(world, peer)
    if (entries.length > 1) throw new Error(`two leases at ${world.now}`)
    const { holder } = peer.lease
    const isHeld = holder !== undefined && world.now < holder.untilMs
    if (entries[0] !== undefined && !(isHeld && holder.entry === entries[0].id))
      throw new Error(`an entry believes in a lease that the peer does not hold, at ${world.now}`)
  }
}

/** Models that nobody serves though a live peer has room for them, or serves in their place what others serve too. */
const forgotten = ({ peers }: World): ReadonlyArray<string> => {
  const live = peers.filter(({ isAlive }) => isAlive)
  const workers = (model: string) => live.filter(({ loaded }) => loaded.get(model) === true).length
  return ["a", "b", "c"].filter(
    (model) =>
      workers(model) === 0 &&
      live.some(({ loaded, needBytes, offer: { usableBytes } }) => {
        const alone = [...loaded.keys()].filter((other) => workers(other) < 2)
        const kept = alone.reduce((sum, other) => sum + (needBytes.get(other) ?? 0), 0)
        return (needBytes.get(model) ?? Number.POSITIVE_INFINITY) + kept <= usableBytes
      })
  )
}

test(`${seeds} seeds of two entries and dying peers keep one lease a peer, memory, and every model they can`, () => {
  let changes = 0
  let led = 0
  for (let seed = 0; seed < seeds; seed++) {
    const world = new World(seed)
    let settled: number | undefined
    const changed = (): number => world.peers.reduce((sum, peer) => sum + peer.changes, 0)
    try {
      world.run((now) => {
        checkStep(now)
        if (settled === undefined && now.now > calmMs + (endMs - calmMs) / 2) settled = changed()
      })
      expect(forgotten(world)).toEqual([])
      expect(changed()).toBe(settled ?? -1)
      for (const peer of world.peers) {
        if (peer.isAlive && peer.offer.candidates.length > 0) expect(entriesOf(world, peer)).toHaveLength(1)
        expect(peer.changes).toBeLessThanOrEqual(changesMax)
      }
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`)
    }
    changes += changed()
    led += world.peers.filter((peer) => peer.lease.holder !== undefined).length
  }
  // The runs are worth something only where orders were given and moved models.
  expect(led).toBeGreaterThan(seeds)
  expect(changes).toBeGreaterThan(seeds / 4)
}, 300_000)

/** One a minute of the whole run, and one for each death of the others, of which there are at most eight. */
const changesMax = endMs / 60_000 + 8
