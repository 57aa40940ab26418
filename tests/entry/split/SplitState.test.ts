/** Which models the entry splits: by example, and in a thousand seeded lives of peers that come, go and lie. */
import { expect } from "bun:test"
import type { GroupEvent } from "@weft/engine/pipeline/PipelineProtocol"
import * as StagePermit from "@weft/engine/pipeline/StagePermit"
import * as SplitState from "@weft/entry/split/SplitState"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"
import { layers, model, peer } from "./lending.ts"

const named = (group: string) => ({ forceSplit: false, group })

/** What is offered, by group. */
const spared = (actions: ReadonlyArray<SplitState.SplitAction>) =>
  actions.map((action) => {
    if (action._tag !== "Offer") throw new Error(`no offer but ${action._tag}`)
    return [action.group.group, action.group.spares] as const
  })

/** Looks once at `models` with nothing known before; the action must be a new group. */
const formed = (models: ReadonlyArray<SplitState.SplitModel>, now = 0) => {
  const [[action], state] = SplitState.look(SplitState.empty, models, named("g1"), now)
  if (action?._tag !== "Form") throw new Error(`no group but ${JSON.stringify(action)}`)
  return { group: action.group, state }
}

it.effect("a model that no peer can hold is split among those who lend its layers, with a spare", () =>
  Effect.sync(() => {
    const { group, state } = formed([model("big", [1, 2, 3])])
    expect(group.stages).toHaveLength(2)
    expect(group.stages[0]?.from).toBe(0)
    expect(group.stages[1]?.to).toBe(layers)
    expect(group.host).toBe(group.stages[0]?.peer ?? peer(9))
    expect(group.spares).toHaveLength(1)
    expect(state.outlooks.get("big")?.explanations).toHaveLength(3)
    expect(SplitState.look(state, [model("big", [1, 2, 3])], named("g2"), 1)[0]).toEqual([])
  })
)

it.effect("a model that a peer serves whole is not split, and one that is split by then is no more", () =>
  Effect.sync(() => {
    const whole = model("big", [1, 2], { isServedWhole: true })
    expect(SplitState.look(SplitState.empty, [whole], named("g1"), 0)[0]).toEqual([])
    const { state } = formed([model("big", [1, 2])])
    expect(SplitState.look(state, [whole], named("g2"), 1)[0]).toEqual([{ _tag: "Disband", group: "g1" }])
    expect(SplitState.look(state, [whole], { forceSplit: true, group: "g2" }, 1)[0]).toEqual([])
    const [[forced]] = SplitState.look(SplitState.empty, [whole], { forceSplit: true, group: "g1" }, 0)
    expect(forced?._tag).toBe("Form")
  })
)

it.effect("a peer with room for all of it is no reason for a group", () =>
  Effect.sync(() => {
    const [actions, state] = SplitState.look(SplitState.empty, [model("big", [1, 2], {}, 9)], named("g1"), 0)
    expect(actions).toEqual([])
    expect(
      state.outlooks
        .get("big")
        ?.explanations.map(({ verdict }) => verdict.kind)
        .toSorted()
    ).toContain("solo")
  })
)

it.effect("a group that fails is tried again, later each time, and at once no more after it served", () =>
  Effect.sync(() => {
    const models = [model("big", [1, 2])]
    let now = 0
    let { state } = formed(models)
    for (const wait of [1, 2, 4].map((factor) => factor * SplitState.failureWaitMs)) {
      state = SplitState.ended(state, "g1", now)
      expect(state.groups.size).toBe(0)
      expect(SplitState.look(state, models, named("g1"), now + wait - 1)[0]).toEqual([])
      now += wait
      const [[again], next] = SplitState.look(state, models, named("g1"), now)
      expect(again?._tag).toBe("Form")
      state = next
    }
    state = SplitState.told(state, "g1", { _tag: "Serving", epoch: 1, stages: [] }, now)
    state = SplitState.ended(state, "g1", now)
    expect(SplitState.look(state, models, named("g2"), now + SplitState.failureWaitMs)[0]).toHaveLength(1)
  })
)

it.effect("a peer that a host names as lost gets no stage for a while, and its place goes to another", () =>
  Effect.sync(() => {
    const models = [model("big", [1, 2, 3])]
    const { group, state } = formed(models)
    const tail = group.stages[1]?.peer ?? peer(9)
    const lost = SplitState.told(state, "g1", { _tag: "Disbanded", peer: tail, reason: "it went silent" }, 10)
    const [[again]] = SplitState.look(lost, models, named("g2"), 10 + SplitState.failureWaitMs)
    if (again?._tag !== "Form") throw new Error("no second group")
    expect(again.group.stages.map((stage) => stage.peer)).not.toContain(tail)
    const [, known] = SplitState.look(lost, models, named("g2"), 10 + SplitState.failureWaitMs)
    const why = known.outlooks.get("big")?.explanations.find((one) => one.peer === tail)?.verdict
    expect(why).toEqual({ kind: "struckOff", reason: "it went silent" })
  })
)

it.effect("who comes later is offered as a spare, and who goes is one no more", () =>
  Effect.sync(() => {
    const { state } = formed([model("big", [1, 2])])
    const [offers, offered] = SplitState.look(state, [model("big", [1, 2, 3])], named("g2"), 1)
    expect(spared(offers)).toEqual([["g1", [{ peer: peer(3), address: "127.0.0.1:3" }]]])
    expect(SplitState.look(offered, [model("big", [1, 2, 3])], named("g2"), 2)[0]).toEqual([])
    const [gone] = SplitState.look(offered, [model("big", [1, 2])], named("g2"), 3)
    expect(spared(gone)).toEqual([["g1", []]])
  })
)

it.effect("spares are offered again before their permits expire, and nobody is where there are none", () =>
  Effect.sync(() => {
    const models = [model("big", [1, 2, 3])]
    let { state } = formed(models)
    const offeredMs: Array<number> = []
    for (let now = 0; now <= 2 * StagePermit.validityMs; now += 500) {
      const [actions, next] = SplitState.look(state, models, named("g2"), now)
      if (actions.length > 0) offeredMs.push(now)
      for (const [, spares] of spared(actions)) expect(spares).toHaveLength(1)
      state = next
    }
    expect(offeredMs.length).toBeGreaterThanOrEqual(4)
    for (const [index, atMs] of offeredMs.entries())
      expect(atMs - (offeredMs[index - 1] ?? 0)).toBeLessThan(StagePermit.validityMs / 2)
    const alone = [model("big", [1, 2])]
    expect(SplitState.look(formed(alone).state, alone, named("g2"), StagePermit.validityMs)[0]).toEqual([])
  })
)

it.effect("a host can accuse neither itself nor strangers, and words of a group that is over change nothing", () =>
  Effect.sync(() => {
    const { group, state } = formed([model("big", [1, 2, 3])])
    for (const accused of [group.host, peer(77)]) {
      const broken = SplitState.told(state, "g1", { _tag: "Broken", peer: accused, reason: "so I say" }, 1)
      expect(broken.struckOff.size).toBe(0)
    }
    expect(SplitState.told(state, "g9", { _tag: "Broken", reason: "who?" }, 1)).toBe(state)
    expect(SplitState.ended(state, "g9", 1)).toBe(state)
  })
)

it.prop(
  "a group that runs stays as it is, whatever its peers and others say of their speed",
  FastCheck.array(
    FastCheck.tuple(
      FastCheck.array(FastCheck.oneof(FastCheck.constant(undefined), FastCheck.double({ min: 1e-3, max: 1e6 })), {
        minLength: 4,
        maxLength: 4
      }),
      FastCheck.nat(60_000)
    ),
    { minLength: 1, maxLength: 20 }
  ),
  (said) =>
    Effect.sync(() => {
      const big = model("big", [1, 2, 3, 4])
      const { group, state: formedState } = formed([big])
      let state = SplitState.told(formedState, "g1", { _tag: "Serving", epoch: 1, stages: [] }, 0)
      let now = 0
      for (const [index, [times, passedMs]] of said.entries()) {
        now += passedMs
        const candidates = big.candidates.map((one, at) => ({ ...one, layerMs: times[at] }))
        const [actions, next] = SplitState.look(
          state,
          [{ ...big, candidates, fingerprint: JSON.stringify(times) }],
          named(`g${index + 2}`),
          now
        )
        // Permits are renewed as ever.
        expect(actions.filter(({ _tag }) => _tag !== "Offer")).toEqual([])
        expect(next.groups.get("big")?.stages).toEqual(group.stages)
        state = next
      }
    })
)

/** Numbers from a seed (https://en.wikipedia.org/wiki/Xorshift). */
const seeded = (seed: number) => {
  let x = (seed + 1) * 0x9e3779b1
  return (below: number): number => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) % below
  }
}

const eventOf = (random: (below: number) => number): GroupEvent => {
  const who = peer(random(6))
  switch (random(4)) {
    case 0:
      return { _tag: "Forming", peer: who, state: "loading", fraction: random(11) / 10 }
    case 1:
      return { _tag: "Serving", epoch: 1 + random(5), stages: [] }
    case 2:
      return { _tag: "Broken", peer: who, reason: "lost" }
    default:
      return { _tag: "Disbanded", ...(random(2) === 0 ? { peer: who } : {}), reason: "over" }
  }
}

/** One life of 200 steps; returns what a rule says against it. */
const live = (seed: number): string | undefined => {
  const random = seeded(seed)
  let [state, now] = [SplitState.empty, 0]
  let models: ReadonlyArray<SplitState.SplitModel> = []
  for (let step = 0; step < 200; step++) {
    now += random(3_000)
    if (random(4) === 0) {
      models = ["a", "b"].map((id) => {
        const numbers = [0, 1, 2, 3, 4, 5].filter(() => random(2) === 0)
        return model(id, numbers, { isServedWhole: random(4) === 0 })
      })
    }
    const names = [...state.groups.values()].map(({ group }) => group)
    const name = names[random(names.length + 1)] ?? "stranger"
    if (random(3) === 0) state = SplitState.told(state, name, eventOf(random), now)
    else if (random(8) === 0) state = SplitState.ended(state, name, now)
    const before = state
    const [actions, next] = SplitState.look(state, models, named(`g${seed}-${step}`), now)
    state = next
    for (const action of actions) {
      if (action._tag === "Disband") {
        if (![...before.groups.values()].some(({ group }) => group === action.group)) return "disbands what is not"
        state = SplitState.ended(state, action.group, now)
        continue
      }
      if (action._tag === "Offer") {
        const group = [...next.groups.values()].find(({ group }) => group === action.group.group)
        const lent = models.find(({ model }) => model.id === group?.model.id)?.candidates ?? []
        for (const { peer } of action.group.spares) {
          if (group?.stages.some((stage) => stage.peer === peer) !== false) return "a spare that has a stage"
          if (!lent.some(({ id }) => id === peer)) return "a spare that lends nothing"
          if ((before.struckOff.get(peer)?.untilMs ?? 0) > now) return "a spare that is struck off"
        }
        continue
      }
      const { model: split, stages, spares } = action.group
      const one = models.find((known) => known.model.id === split.id)
      if (before.groups.has(split.id)) return "a second group of a model"
      if (one === undefined || one.isServedWhole) return "a group of what needs none"
      if ((before.outlooks.get(split.id)?.waitUntilMs ?? 0) > now) return "a group too soon"
      if (stages.length < 2 || stages[0]?.from !== 0 || stages.at(-1)?.to !== layers) return "stages that do not cover"
      for (const member of [...stages, ...spares]) {
        if (!one.candidates.some(({ id }) => id === member.peer)) return "a stage at who does not lend it"
        if ((before.struckOff.get(member.peer)?.untilMs ?? 0) > now) return "a stage at who is struck off"
        if (member.address === "") return "a stage without an address"
      }
    }
    if (state.struckOff.size > 6) return "more struck off than there are"
  }
  return undefined
}

it.effect("in 1,000 lives no model has two groups, and no group a peer that should have no part in it", () =>
  Effect.sync(() => {
    for (let seed = 0; seed < 1_000; seed++) {
      const wrong = live(seed)
      if (wrong !== undefined) throw new Error(`seed ${seed}: ${wrong}`)
    }
  })
)
