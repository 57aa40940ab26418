/** Runs of simulated groups in virtual time: what came of them, or the fibers they leave. */
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import type { SessionError } from "@weft/mesh/MeshError"
import { Effect, type Scope, Supervisor } from "effect"
import { simulated } from "../../support/virtualTime.ts"
import type * as Scenarios from "./scenarios.ts"
import * as SimulatedGroups from "./simulatedGroups.ts"

/** Returns the run of a scenario. */
export const play = (scenario: Scenarios.Scenario): Effect.Effect<SimulatedGroups.Run> =>
  playing(
    scenario,
    Effect.flatMap(SimulatedGroups.make(scenario), (world) => world.run)
  )

/**
 * Returns how many fibers the peers of a scenario have before their first group, and how many they have when nothing of
 * the last is under way any more. Peers that die begin anew with as many.
 */
export const fibers = (scenario: Scenarios.Scenario) =>
  Effect.gen(function* () {
    const tracker = yield* Supervisor.track
    const count = Effect.map(tracker.value, (living) => living.length)
    const counted = Effect.gen(function* () {
      const world = yield* SimulatedGroups.make(scenario)
      yield* world.begin
      yield* Effect.sleep("1 second")
      const before = yield* count
      yield* world.run
      yield* Effect.sleep(quiet)
      return { before, after: yield* count }
    })
    return yield* playing(scenario, Effect.supervised(counted, tracker))
  })

// internal

/** Longer than a link or an edge lives that nobody uses. */
const quiet = "90 seconds"

const playing = <A>(
  scenario: Scenarios.Scenario,
  body: Effect.Effect<A, SessionError, MemoryNetwork | Scope.Scope>
): Effect.Effect<A> =>
  body.pipe(Effect.provide(MemoryNetwork.layer(scenario.network)), Effect.scoped, Effect.orDie, simulated)
