/**
 * Split groups while peers, links, children and stages fail: seeded runs of the real hosts, lenders, edges
 * and jobs over a memory network in virtual time, with a model that is arithmetic. Whatever happens, an answer is the
 * whole model's to the last token, nobody keeps what a group has let go of, and who is blamed is at fault.
 *
 * `WEFT_SIMULATION_SEEDS=1-100000 bun test tests/engine/pipeline/GroupSimulation.test.ts` runs other seeds.
 */
import { expect } from "bun:test"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import * as Arithmetic from "./arithmetic.ts"
import * as Playing from "./playing.ts"
import * as Scenarios from "./scenarios.ts"
import type * as SimulatedGroups from "./simulatedGroups.ts"

const [first = 1, last = 1_000] = process.env.WEFT_SIMULATION_SEEDS?.split("-").map(Number) ?? []

/** Fewer say little about how often something happens. */
const runsToCount = 1_000
/** Longest time until a death is known: a session that hears nothing ends within 1.8 s, and nothing is on time. */
const noticeMsMax = 2_200
/** Ways between two peers from the loss of a stage to the next token: leases, edges, and the answer's own windows. */
const waysMax = 40

/** Holds what one client got against the answer of the whole model. */
const judgeAnswer = ({ asked, completionTokens, outcome, text, tokens, wrong }: SimulatedGroups.Got): void => {
  const whole = Arithmetic.answerOf(asked)
  expect(wrong).toEqual([])
  expect(tokens).toEqual(whole.slice(0, tokens.length))
  expect(text).toBe(tokens.map((token) => `${token} `).join(""))
  if (asked.leavesMs === undefined) expect(outcome).toBe("finished")
  if (outcome !== "left")
    expect([outcome, tokens.length, completionTokens]).toEqual(["finished", whole.length, whole.length])
}

/** Returns those who were blamed by a host that is good. */
const blamed = ({ heard, scenario }: SimulatedGroups.Run): ReadonlyArray<number> =>
  heard.flatMap(({ host, peer }) => (peer === undefined || scenario.bad.has(host) ? [] : [peer]))

/** Holds what the entry heard against what happened. */
const judgeGroups = (run: SimulatedGroups.Run): void => {
  const { bad, fileMs, network, times, trouble } = run.scenario
  const tags = run.heard.map(({ tag }) => tag)
  // Clients may all leave before it serves.
  if (trouble === "none") expect(tags.filter((tag) => tag !== "Serving")).toEqual(["Disbanded"])
  // A loss on a link may be either side's fault, what is hidden in a frame any stage's before, and silence anybody's.
  if (trouble === "deaths" || trouble === "children" || trouble === "refusals")
    expect(blamed(run).filter((peer) => !bad.has(peer))).toEqual([])
  if (trouble !== "deaths" && trouble !== "children") return
  const loadMs = fileMs + times.loadMs
  const gapMsMax = noticeMsMax + loadMs + waysMax * (network.delayMs + network.jitterMs)
  // Where its group never ended, there was a spare all the time.
  for (const { failures, gapMs } of run.got) if (failures.length === 0) expect(gapMs).toBeLessThan(gapMsMax)
}

const judge = (run: SimulatedGroups.Run): void => {
  for (const got of run.got) judgeAnswer(got)
  const { answers, doubled, ...left } = run.left
  expect(left).toEqual({ leases: 0, groups: 0, stages: 0, children: 0 })
  // An engine whose child keeps silent waits for it with an answer that nobody wants any more.
  if (run.scenario.trouble !== "silence") expect(answers).toBe(0)
  // Who is cut off holds what it had until it sees that.
  if (run.scenario.trouble !== "network" && run.scenario.trouble !== "all") expect(doubled).toBe(0)
  judgeGroups(run)
}

it.live(
  "whatever fails, every answer is the whole model's, everything is let go of, and only those at fault are blamed",
  () =>
    Effect.gen(function* () {
      const seen = { healed: 0, moved: 0, left: 0, liars: 0, slandered: 0 }
      for (let seed = first; seed <= last; seed++) {
        const run = yield* Playing.play(Scenarios.of(seed))
        try {
          judge(run)
        } catch (cause) {
          throw new Error(`seed ${seed}: ${JSON.stringify({ ...run, bad: [...run.scenario.bad] }, null, 1)}`, { cause })
        }
        const { bad, trouble } = run.scenario
        if (run.heard.filter(({ tag }) => tag === "Serving").length > 1) seen.healed++
        if (run.got.some(({ failures }) => failures.length > 0)) seen.moved++
        if (run.got.some(({ outcome }) => outcome === "left")) seen.left++
        if (trouble !== "lies") continue
        seen.liars += blamed(run).filter((peer) => bad.has(peer)).length
        seen.slandered += blamed(run).filter((peer) => !bad.has(peer)).length
      }
      const runs = last - first + 1
      if (runs < runsToCount) return
      // Each of them was tried often enough to mean something.
      expect(Math.min(seen.healed, seen.moved, seen.left)).toBeGreaterThan(runs / 20)
      // A liar can have its neighbour blamed now and then, not often.
      expect(seen.slandered).toBeLessThan(seen.liars / 2)
    }),
  // Ten times what they take on a computer that does nothing else: they wait for whatever else is tested.
  Math.max(60_000, (last - first + 1) * 1_000)
)

it.live("the same seed gives the same run, to the millisecond", () =>
  Effect.gen(function* () {
    for (const seed of [3, 5, 8, 13, 21, 34]) {
      const scenario = Scenarios.of(seed)
      expect(yield* Playing.play(scenario)).toEqual(yield* Playing.play(scenario))
    }
  })
)

it.live(
  "groups leave no fiber behind, however they ended",
  () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= 15; seed++) {
        const { after, before } = yield* Playing.fibers(Scenarios.of(seed))
        expect([seed, after]).toEqual([seed, before])
      }
    }),
  400_000
)
