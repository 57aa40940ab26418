/**
 * Split groups while peers, links, children and stages fail: thousands of seeded runs of the real hosts, lenders, edges
 * and jobs over a memory network in virtual time, with a model that is arithmetic.
 */
import { expect } from "bun:test"
import { Effect } from "effect"
import { it } from "../../support/effect.ts"
import * as Arithmetic from "./arithmetic.ts"
import * as Scenarios from "./scenarios.ts"
import * as SimulatedGroups from "./simulatedGroups.ts"

it.live("try", () =>
  Effect.gen(function* () {
    const from = Number(process.env.FROM ?? 1)
    for (let seed = from; seed < from + Number(process.env.COUNT ?? 1); seed++) {
      const started = performance.now()
      const run = yield* SimulatedGroups.play(Scenarios.of(seed))
      const tookMs = performance.now() - started
      const ok = run.got.every((got) => {
        const want = Arithmetic.answerOf(got.asked)
        return got.outcome === "left" ? JSON.stringify(want.slice(0, got.tokens.length)) === JSON.stringify(got.tokens) : JSON.stringify(want) === JSON.stringify(got.tokens)
      })
      console.log(seed, run.scenario.trouble, tookMs.toFixed(0), run.endedMs.toFixed(0), ok, JSON.stringify(run.left), run.got.map((g) => `${g.outcome}/${g.tokens.length}/${g.gapMs.toFixed(0)}/${g.wrong}/${g.failures.length}`).join(" "), run.heard.map((h) => `${h.tag[0]}${h.peer ?? ""}`).join(""), [...run.scenario.bad].join())
      if (process.env.FULL) console.log(JSON.stringify(run, null, 1))
    }
  }), 600_000
)
