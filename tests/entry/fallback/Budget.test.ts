/** Who may use the provider how often: budgets of addresses, what counts as one address, and trials of models. */
import { expect } from "bun:test"
import { addressesMax, Budget } from "@weft/entry/fallback/Budget"
import { clientAddress } from "@weft/entry/fallback/ClientAddress"
import { Trials } from "@weft/entry/fallback/Trials"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"

const hour = 3_600_000

const takes = (budget: Budget, address: string, nowMs: number): boolean => budget.take(address, nowMs) !== undefined

it.effect("an address has its answers of an hour that begins with the first, and then new ones", () =>
  Effect.sync(() => {
    const budget = new Budget(2)
    expect([0, 1_000, 2_000, hour - 1].map((now) => takes(budget, "a", now))).toEqual([true, true, false, false])
    expect(takes(budget, "b", 2_000)).toBe(true)
    expect([hour, hour + 1, hour + 2].map((now) => takes(budget, "a", now))).toEqual([true, true, false])
    expect(takes(new Budget(0), "a", 0)).toBe(false)
  })
)

it.effect("with as many addresses as are kept, new ones wait, and old ones still have theirs", () =>
  Effect.sync(() => {
    const budget = new Budget(2)
    for (let count = 0; count < addressesMax; count++) expect(takes(budget, `a${count}`, count)).toBe(true)
    expect(takes(budget, "new", addressesMax)).toBe(false)
    expect(takes(budget, "a7", addressesMax)).toBe(true)
    expect([takes(budget, "new", hour), takes(budget, "newer", hour)]).toEqual([true, false])
  })
)

it.effect("a clock that is set back gives no address more than it had, and locks none out for long", () =>
  Effect.sync(() => {
    const budget = new Budget(1)
    expect(takes(budget, "a", 10 * hour)).toBe(true)
    expect([takes(budget, "a", hour), takes(budget, "a", hour + 1)]).toEqual([true, false])
  })
)

it.effect("what is given back may be taken again, within its hour and never beyond the budget of another", () =>
  Effect.sync(() => {
    const budget = new Budget(2)
    const back = budget.take("a", 0)
    expect([takes(budget, "a", 1), takes(budget, "a", 2)]).toEqual([true, false])
    back?.()
    expect([takes(budget, "a", 3), takes(budget, "a", 4)]).toEqual([true, false])
    const late = budget.take("a", hour)
    const tooLate = budget.take("a", hour + 1)
    expect(takes(budget, "a", 2 * hour)).toBe(true)
    late?.()
    tooLate?.()
    expect([takes(budget, "a", 2 * hour + 1), takes(budget, "a", 2 * hour + 2)]).toEqual([true, false])
  })
)

it.prop(
  "no address has more than its budget within any hour that began with its first answer",
  FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("a", "b", "c"), FastCheck.nat({ max: 2 * hour }))),
  (asks) =>
    Effect.sync(() => {
      const budget = new Budget(3)
      const granted = new Map<string, Array<number>>()
      for (const [address, at] of asks.toSorted(([, one], [, other]) => one - other)) {
        if (takes(budget, address, at)) granted.set(address, [...(granted.get(address) ?? []), at])
      }
      for (const times of granted.values()) {
        for (const [index, at] of times.entries()) {
          if (index % 3 === 0) expect(times.filter((time) => time >= at && time < at + hour).length).toBeLessThan(4)
        }
      }
    })
)

it.effect("the address is the socket's; of a trusted header the last word counts; IPv6 counts by its network", () =>
  Effect.sync(() => {
    expect(clientAddress("192.0.2.1", undefined)).toBe("192.0.2.1")
    expect(clientAddress("::ffff:192.0.2.1", undefined)).toBe("192.0.2.1")
    expect(clientAddress("10.0.0.1", "1.1.1.1, 198.51.100.7")).toBe("198.51.100.7")
    for (const noAddress of ["", "1.1.1.1, unknown", "x".repeat(10_000), "1.1.1.1,"]) {
      expect(clientAddress("10.0.0.1", noAddress)).toBe("10.0.0.1")
    }
    const same = ["2001:db8::1", "2001:DB8:0:0:ffff::2", "2001:0db8:0000:0000:1:2:3:4", "2001:db8::5%eth0"]
    for (const address of same) expect(clientAddress(address, undefined)).toBe("2001:db8:0:0::/64")
    expect(clientAddress("2001:db8:0:1::1", undefined)).toBe("2001:db8:0:1::/64")
    expect(clientAddress("::1", undefined)).toBe("0:0:0:0::/64")
    expect(clientAddress(undefined, undefined)).toBe("unknown")
  })
)

it.effect("a model that misses is tried once a minute, the first time a minute after it missed first", () =>
  Effect.sync(() => {
    const trials = new Trials()
    const times = [0, 1, 59_999, 60_000, 60_001, 120_000, 120_001]
    expect(times.map((now) => trials.isDue("m", now))).toEqual([false, false, false, true, false, true, false])
    expect(trials.isDue("other", 120_001)).toBe(false)
    for (let count = 0; count < 5_000; count++) expect(trials.isDue(`m${count}`, 120_002)).toBe(false)
    expect(trials.isDue("m", 120_003)).toBe(false)
  })
)
