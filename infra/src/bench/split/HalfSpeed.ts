/**
 * Computers half as fast as this one, for what as many stages do at once as here are no processors for: everybody who
 * computes pauses half of the time, each at another one.
 */
import { Effect } from "effect"
import * as Throttle from "../../throttle/Throttle.ts"
import * as Mesh from "../Mesh.ts"

/** What is left of a computer's speed. */
export const speed = 0.5

/** Runs `use` while all processes of these peers that have layers in them are that slow. */
export const during = async <A>(peers: ReadonlyArray<Mesh.Peer>, use: () => Promise<A>): Promise<A> => {
  const processes = (await Promise.all(peers.map(Mesh.hostProcesses))).flat()
  const slowed = Effect.forEach(processes, (processId, index) =>
    Throttle.make([processId], { kind: "staggered", pausedShare: 1 - speed, phase: index / processes.length }, index)
  )
  return Effect.runPromise(Effect.scoped(Effect.zipRight(slowed, Effect.promise(use))))
}
