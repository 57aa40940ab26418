/** The newest link of each peer, and that each older one is told of exactly once. */
import { expect } from "bun:test"
import { Links } from "@weft/entry/Links"
import type { Link } from "@weft/mesh/Link"
import { Effect, FastCheck } from "effect"
import { linked } from "../mesh/links.ts"
import { it } from "../support/effect.ts"

it.prop(
  "of links that come at once, each but the newest is returned to exactly one that replaces it",
  FastCheck.record({
    count: FastCheck.integer({ min: 2, max: 5 }),
    /** Fibers give way after this many operations; fewer than 10 get nowhere. */
    operations: FastCheck.integer({ min: 10, max: 30 })
  }),
  ({ count, operations }) =>
    linked(({ far }) =>
      Effect.gen(function* () {
        const links = yield* Links
        const all = Array.from({ length: count }, (_, index): Link => ({ ...far, number: index }))
        const replaced = yield* Effect.forEach(all, links.hold, { concurrency: "unbounded" })
        const newest = links.enter(far.peer, 0)?.link
        const numbers = [...replaced, newest].map((link) => link?.number ?? -1)
        expect(numbers.toSorted((a, b) => a - b)).toEqual([-1, ...all.keys()])
      }).pipe(Effect.withMaxOpsBeforeYield(operations), Effect.scoped)
    ).pipe(Effect.provide(Links.layer)),
  { runs: 100 }
)
