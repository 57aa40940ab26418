/** What a group's host decides: by the case, and by thousands of seeds in a world where all that can fail does. */
import { describe, expect, test } from "bun:test"
import type { GroupAction, GroupHappening, GroupState } from "@weft/engine/pipeline/GroupState"
import { refusalOf } from "@weft/engine/pipeline/GroupState"
import * as GroupTurn from "@weft/engine/pipeline/GroupTurn"
import { peerId } from "../../mesh/peers.ts"
import { form, placeOf, World } from "./groups.ts"

const now = 1_000_000

/** Takes happenings one after the other, and returns the last state and the last actions. */
const take = (state: GroupState, happenings: ReadonlyArray<GroupHappening>, at = now) =>
  happenings.reduce<readonly [GroupState, ReadonlyArray<GroupAction>]>(
    ([current], happening) => GroupTurn.step(current, happening, at),
    [state, []]
  )

const ready = (lease: number, epoch: number): GroupHappening => ({ _tag: "Ready", lease, epoch, width: 256 })
const tags = (actions: ReadonlyArray<GroupAction>) =>
  actions.map((action) => (action._tag === "Tell" ? action.event._tag : action._tag))

/** A group of three stages (leases 0 to 2) that serves; lease 3 is the hot spare where there is one. */
const serving = (spares: number, cuts = [2, 6]) => {
  const [begun] = GroupTurn.begin(form(8, cuts, spares), now)
  return take(begun, [ready(0, 1), ready(1, 1), ready(2, 1)])
}

describe("a group", () => {
  test("reserves all stages at once and a spare with the range of the largest that is not its own", () => {
    const [state, actions] = GroupTurn.begin(form(8, [2, 6], 2), now)
    expect(tags(actions)).toEqual(Array.from({ length: 4 }, () => ["Reserve", "Forming"] as const).flat())
    expect(state.hot?.place).toEqual({ ...placeOf(100), from: 2, to: 6 })
    expect(actions.find((action) => action._tag === "Reserve" && action.lease === 1)).toMatchObject({
      wiring: { epoch: 1, previous: peerId(1), next: placeOf(3) }
    })
  })

  test("connects when the last stage is ready, and tells the entry", () => {
    const [state, actions] = serving(0)
    expect(tags(actions)).toEqual(["Forming", "Connect", "Serving"])
    expect(state.phase).toBe("serving")
  })

  test("puts the hot spare in the place of a lost stage of its range, and serves when all know of it", () => {
    const [begun] = take(serving(1)[0], [ready(3, 1)])
    const [healing, actions] = take(begun, [{ _tag: "Lost", lease: 1, reason: "died" }])
    expect(tags(actions)).toEqual(["Release", "Disconnect", "Broken", "Rewire", "Rewire", "Rewire"])
    expect(healing.members.map(({ place }) => place.peer)).toEqual([peerId(1), peerId(100), peerId(3)])
    const [, early] = take(healing, [ready(0, 2), ready(2, 2), ready(3, 1)])
    expect(early).toEqual([])
    const [served, last] = take(healing, [ready(0, 2), ready(2, 2), ready(3, 2)])
    expect(tags(last)).toEqual(["Connect", "Serving"])
    expect([served.phase, served.epoch]).toEqual(["serving", 2])
  })

  test("has a cold spare load the layers that the hot one has not", () => {
    const [, actions] = take(serving(2)[0], [{ _tag: "Lost", lease: 2, reason: "died" }])
    expect(actions.find(({ _tag }) => _tag === "Reserve")).toMatchObject({
      lease: 4,
      place: { ...placeOf(101), from: 6, to: 8 },
      wiring: { epoch: 2, previous: peerId(2), next: null }
    })
  })

  test("gives the hot spare other layers where it is the last", () => {
    const [state, actions] = take(serving(1)[0], [{ _tag: "Lost", lease: 2, reason: "died" }])
    expect(tags(actions).slice(0, 2)).toEqual(["Release", "Release"])
    expect(state.members.at(2)?.place).toEqual({ ...placeOf(100), from: 6, to: 8 })
  })

  test("is disbanded where nobody can take over, and when its own stage is lost; nothing is left reserved", () => {
    for (const [spares, lease] of [
      [0, 1],
      [3, 0]
    ] as const) {
      const [state, actions] = take(serving(spares)[0], [{ _tag: "Lost", lease, reason: "died" }])
      expect(state.phase).toBe("disbanded")
      expect(tags(actions).at(-1)).toBe("Disbanded")
      expect(tags(actions).filter((tag) => tag === "Release")).toHaveLength(spares === 0 ? 3 : 4)
      expect(take(state, [ready(1, 1), { _tag: "Looked" }])[1]).toEqual([])
    }
  })

  test("asks a peer that refused for fewer layers only", () => {
    const [state] = take(serving(1)[0], [{ _tag: "Refused", lease: 3, reason: "full" }])
    expect(state.hot?.place).toEqual({ ...placeOf(100), from: 6, to: 8 })
    const [again] = take(state, [{ _tag: "Refused", lease: 4, reason: "full" }])
    expect([again.hot, again.spares]).toEqual([undefined, [{ ...placeOf(100), layersMax: 1 }]])
  })

  test("believes the first complaint of a peer about another, and at the second lets the complainer go", () => {
    const parted = (lease: number, epoch: number, peer: number): GroupHappening => ({
      _tag: "Parted",
      lease,
      epoch,
      peer: peerId(peer),
      reason: "no way"
    })
    const judged = (state: GroupState, happening: GroupHappening) =>
      take(take(state, [happening])[0], [{ _tag: "Looked" }], now + 3_001)
    const [first] = judged(serving(2, [3, 6])[0], parted(1, 1, 3))
    expect(first.members.map(({ place }) => place.peer)).toEqual([peerId(1), peerId(2), peerId(101)])
    // Said in an epoch that is over.
    expect(judged(first, parted(1, 1, 101))[1]).toEqual([])
    const [second] = judged(first, parted(1, 2, 101))
    expect(second.members.map(({ place }) => place.peer)).toEqual([peerId(1), peerId(100), peerId(101)])
    // The host itself is believed, whoever complains of it goes.
    const [own] = judged(serving(2)[0], parted(0, 1, 2))
    expect(own.members.some(({ place }) => place.peer === peerId(2))).toBe(false)
    const [ofHost] = judged(serving(2)[0], parted(2, 1, 1))
    expect(ofHost.members.some(({ place }) => place.peer === peerId(3))).toBe(false)
    // A complaint about who is seen to be lost does not count.
    const [seen] = take(serving(3)[0], [parted(1, 1, 3), { _tag: "Lost", lease: 2, reason: "died" }])
    expect([seen.suspicion, [...seen.accusers]]).toEqual([undefined, []])
    // Silence that follows a complaint is the matter of those two.
    const [silent] = take(serving(2)[0], [parted(0, 1, 3), faulted(1, "silence")])
    expect(silent.members.map(({ place }) => place.peer)).toEqual([peerId(1), peerId(2), peerId(101)])
  })

  const faulted = (epoch: number, kind: "tail" | "refusal" | "silence", peer?: number): GroupHappening => ({
    _tag: "Faulted",
    epoch,
    kind,
    reason: "halted",
    ...(peer === undefined ? {} : { peer: peerId(peer) })
  })
  const peersOf = ({ members }: GroupState) => members.map(({ place }) => place.peer)
  const again = (state: GroupState) =>
    take(
      state,
      state.members.map(({ lease }) => ready(lease, state.epoch))
    )[0]

  test("lets the last stage go at once that says what cannot be", () => {
    // The first spare is hot, with the layers of another stage.
    const [state] = take(serving(2)[0], [faulted(1, "tail")])
    expect(peersOf(state)).toEqual([peerId(1), peerId(2), peerId(101)])
  })

  test("bears one silence, then lets the last stage go, then the one before it", () => {
    const first = again(take(serving(3)[0], [faulted(1, "silence")])[0])
    expect([peersOf(first), first.epoch, first.phase]).toEqual([[1, 2, 3].map(peerId), 2, "serving"])
    const second = again(take(first, [faulted(2, "silence")])[0])
    expect(peersOf(second)).toEqual([peerId(1), peerId(2), peerId(101)])
    const third = take(second, [faulted(3, "silence")])[0]
    expect(peersOf(third)).toEqual([peerId(1), peerId(100), peerId(101)])
    // Said of an epoch that is over, and long after.
    expect(take(first, [faulted(1, "silence")])[1]).toEqual([])
    const late = take(first, [faulted(2, "silence")], now + 301_000)[0]
    expect([peersOf(late), late.faults]).toEqual([[1, 2, 3].map(peerId), 1])
  })

  test("lets the stage before go where the next tail's tokens cannot be either: a tail repeats what it is told", () => {
    const first = again(take(serving(3)[0], [faulted(1, "tail")])[0])
    expect(peersOf(first).slice(0, 2)).toEqual([1, 2].map(peerId))
    expect(peersOf(first)[2]).not.toBe(peerId(3))
    const second = again(take(first, [faulted(2, "tail")])[0])
    expect([peersOf(second)[0], peersOf(second)[2]]).toEqual([peersOf(first)[0], peersOf(first)[2]])
    expect(peersOf(second)[1]).not.toBe(peerId(2))
    // What is long ago is forgotten.
    const late = take(first, [faulted(2, "tail")], now + 301_000)[0]
    expect(peersOf(late).slice(0, 2)).toEqual([1, 2].map(peerId))
  })

  test("bears one refusal, then lets go who sent what is refused, then who refuses again", () => {
    const first = again(take(serving(3)[0], [faulted(1, "refusal", 3)])[0])
    expect(peersOf(first)).toEqual([1, 2, 3].map(peerId))
    const second = again(take(first, [faulted(2, "refusal", 3)])[0])
    expect(peersOf(second)).toEqual([peerId(1), peerId(100), peerId(3)])
    const third = take(second, [faulted(3, "refusal", 3)])[0]
    expect(peersOf(third)).toEqual([peerId(1), peerId(100), peerId(102)])
    // What the host sent is not at fault.
    const ofHost = take(again(take(serving(2)[0], [faulted(1, "refusal", 2)])[0]), [faulted(2, "refusal", 2)])[0]
    expect(peersOf(ofHost)).toEqual([peerId(1), peerId(100), peerId(3)])
  })

  test("gives up when answers halt again and again within minutes", () => {
    let [state] = serving(0)
    for (let fault = 0; fault < 6; fault++) {
      expect(state.phase).toBe("serving")
      state = again(take(state, [faulted(fault + 1, "refusal")])[0])
    }
    expect(take(state, [faulted(7, "refusal")])[0].phase).toBe("disbanded")
  })

  test("takes note of who may take over, keeps one of them hot, and leaves out who has a part", () => {
    const [state] = serving(0)
    const spares = [2, 100, 101].map((number) => ({ peer: peerId(number), address: "there:1" }))
    const [offered, actions] = take(state, [{ _tag: "Offered", spares }])
    expect(offered.hot?.place.peer).toBe(peerId(100))
    expect(offered.spares.map(({ peer }) => peer)).toEqual([peerId(101)])
    expect(actions.map(({ _tag }) => _tag)).toEqual(["Reserve", "Tell"])
    expect(take(offered, [{ _tag: "Offered", spares: [] }])[0].spares).toEqual([])
  })

  test("loses who comes no further: with its layers, in all, and with its edges", () => {
    const [begun] = GroupTurn.begin(form(8, [2, 6], 1), now)
    const look = (state: GroupState, at: number) => take(state, [{ _tag: "Looked" }], at)[0]
    const forming = take(begun, [ready(0, 1), ready(2, 1), ready(3, 1)])[0]
    expect(look(forming, now + 120_000).members[1]?.lease).toBe(1)
    expect(look(forming, now + 120_001).members[1]?.lease).toBe(3)
    let slow = forming
    for (let percent = 1; percent < 20; percent++)
      slow = take(slow, [{ _tag: "Loading", lease: 1, fraction: percent / 50 }], now + percent * 100_000)[0]
    expect(slow.members[1]?.lease).toBe(1)
    expect(look(slow, now + 1_900_000).members[1]?.lease).toBe(3)
    // The same fraction again is no progress.
    const same = take(forming, [{ _tag: "Loading", lease: 1, fraction: 0.001 }], now + 100_000)[0]
    expect(look(same, now + 120_001).members[1]?.lease).toBe(3)
    const healing = take(forming, [{ _tag: "Lost", lease: 1, reason: "died" }, ready(0, 2), ready(2, 2)])[0]
    expect(look(healing, now + 30_000).phase).toBe("forming")
    expect(look(healing, now + 30_001).phase).toBe("disbanded")
  })

  test("does not work with stages that disagree on the width, or are ahead of it", () => {
    const [begun] = GroupTurn.begin(form(8, [2, 6], 0), now)
    const [narrow] = take(begun, [ready(0, 1), { _tag: "Ready", lease: 1, epoch: 1, width: 255 }])
    const [ahead] = take(begun, [ready(1, 2)])
    expect([narrow.phase, ahead.phase]).toEqual(["disbanded", "disbanded"])
  })

  test("takes wishes only that name its own stage first, everybody once and every layer once", () => {
    const wish = form(8, [2, 6], 2)
    const [first, second, third] = wish.stages
    if (first === undefined || second === undefined || third === undefined) throw new Error("three stages were made")
    expect(refusalOf(wish, peerId(1))).toBeUndefined()
    expect(refusalOf(wish, peerId(2))).toContain("another peer")
    expect(refusalOf({ ...wish, spares: [placeOf(2)] }, peerId(1))).toContain("twice")
    for (const stages of [
      [first, third],
      [first, second],
      [{ ...first, from: 1 }, second, third],
      [first, { ...second, to: 7 }, third],
      [first, { ...second, to: 2 }, { ...third, from: 2 }]
    ])
      expect(refusalOf({ ...wish, stages }, peerId(1))).toContain("cover")
  })
})

describe("a world of", () => {
  const worlds = {
    "calm peers": { refused: 0, lost: 0, stuck: 0, twice: 0, crooked: 0 },
    "peers that repeat themselves": { refused: 0, lost: 5, stuck: 0, twice: 60, crooked: 0 },
    "peers that refuse": { refused: 40, lost: 10, stuck: 0, twice: 10, crooked: 0 },
    "peers that get stuck": { refused: 5, lost: 10, stuck: 25, twice: 20, crooked: 0 },
    "peers that lie": { refused: 5, lost: 5, stuck: 5, twice: 20, crooked: 15 }
  }
  for (const [name, trouble] of Object.entries(worlds))
    test(`${name} never connects a stage that is not ready, leaks no lease and always comes to an end`, () => {
      const ends = { serving: 0, disbanded: 0 }
      let reconnected = 0
      for (let seed = 0; seed < 1_000; seed++) {
        const cuts = [[4], [2, 6], [1, 3, 5, 7]][seed % 3] ?? []
        const world = new World(seed, form(8, cuts, seed % 9), trouble)
        world.run(3 * 3_600_000, seed % 2 === 0 ? 0 : 1_200_000)
        const { phase } = world.state
        if (phase !== "serving" && phase !== "disbanded") throw new Error(`seed ${seed} ends ${phase}`)
        ends[phase]++
        if (world.connected.length > 1) reconnected++
        world.take({ _tag: "Dissolved", reason: "the entry left" })
        expect(world.leases()).toEqual([])
        expect(world.told.at(-1)).toBe("Disbanded")
      }
      expect(ends.serving).toBeGreaterThan(50)
      expect(reconnected).toBeGreaterThan(50)
    }, 120_000)
})
