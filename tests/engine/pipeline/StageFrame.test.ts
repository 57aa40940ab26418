/** The codec of stage frames: whatever is sent arrives as it was, and no bytes at all get more than a refusal. */
import { describe, expect, test } from "bun:test"
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import * as Msgpack from "@weft/mesh/Msgpack"
import { Arbitrary, Either, FastCheck, Schema } from "effect"
import { greedy } from "../asking.ts"

const u32 = FastCheck.nat(0xffff_ffff)
const name = { epoch: u32, job: u32 }
const place = { ...name, round: u32, window: u32, position: u32 }
const token = FastCheck.nat(0x7fff_ffff)
const tokens = (count: number) =>
  FastCheck.array(token, { minLength: count, maxLength: count }).map((all) => Int32Array.from(all))

const values = (count: number) => FastCheck.float32Array({ minLength: count, maxLength: count, noNaN: true })

const window = FastCheck.record({
  rows: FastCheck.integer({ min: 1, max: 40 }),
  width: FastCheck.integer({ min: 1, max: 16 }),
  hasHidden: FastCheck.boolean()
}).chain(({ hasHidden, rows, width }) =>
  FastCheck.record({
    kind: FastCheck.constant("window" as const),
    ...place,
    drawn: FastCheck.nat(rows),
    tokens: tokens(rows),
    hidden: hasHidden ? values(rows * width) : FastCheck.constant(undefined)
  })
)

const drawn = FastCheck.integer({ min: 0, max: 64 }).chain((rows) =>
  FastCheck.record({
    kind: FastCheck.constant("tokens" as const),
    ...place,
    drawn: rows === 0 ? FastCheck.constant(0) : FastCheck.integer({ min: rows, max: 512 }),
    tokens: tokens(rows)
  })
)

/** Without −0, which MessagePack takes for the whole number 0. */
const throughJson = Schema.parseJson(StageFrame.JobTerms)
const terms = Arbitrary.make(StageFrame.JobTerms).map((all) =>
  Schema.decodeSync(throughJson)(Schema.encodeSync(throughJson)(all))
)
const frame: FastCheck.Arbitrary<StageFrame.StageFrame> = FastCheck.oneof(
  FastCheck.record({ kind: FastCheck.constant("open" as const), ...name, terms }),
  FastCheck.record({ kind: FastCheck.constant("close" as const), ...name }),
  FastCheck.record({ kind: FastCheck.constant("failed" as const), ...name, reason: FastCheck.string() }),
  window,
  drawn
)

/** Returns the bytes at an odd place of other memory, in a Buffer as sockets give them. */
const shifted = (bytes: Uint8Array, by: number): Uint8Array => {
  const room = Buffer.alloc(bytes.length + by + 3)
  room.set(bytes, by)
  return room.subarray(by, by + bytes.length)
}

const fieldOf = (bytes: Uint8Array): string | undefined => {
  const decoded = StageFrame.decode(bytes)
  return Either.isLeft(decoded) ? decoded.left.field : undefined
}

const sample: StageFrame.Window = {
  kind: "window",
  epoch: 1,
  job: 2,
  round: 3,
  window: 4,
  position: 5,
  drawn: 1,
  tokens: Int32Array.of(7, 8),
  hidden: Float32Array.of(1, 2, 3, 4, 5, 6)
}

/** Returns the sample's bytes with some of them set. */
const spoilt = (set: Readonly<Record<number, number>>): Uint8Array => {
  const bytes = StageFrame.encode(sample)
  for (const [offset, value] of Object.entries(set)) bytes[Number(offset)] = value
  return bytes
}

describe("a stage frame", () => {
  test("is after its way what it was before, wherever its bytes lie", () => {
    FastCheck.assert(
      FastCheck.property(frame, FastCheck.nat(3), (sent, by) => {
        const bytes = shifted(StageFrame.encode(sent), by)
        const got = Either.getOrThrow(StageFrame.decode(bytes))
        expect(got).toEqual(sent)
        const { epoch, job, kind } = sent
        const isForHost = kind === "tokens" || kind === "failed"
        const rows = kind === "window" || kind === "tokens" ? sent.tokens.length : 0
        expect(Either.getOrThrow(StageFrame.peek(bytes))).toEqual({ kind, rows, isForHost, epoch, job })
      }),
      { numRuns: 500 }
    )
  })

  test("cut short, made longer or changed in a byte is refused or another whole frame", () => {
    FastCheck.assert(
      FastCheck.property(frame, u32, FastCheck.nat(255), (sent, place, byte) => {
        const bytes = StageFrame.encode(sent)
        expect(fieldOf(bytes.subarray(0, place % bytes.length))).toBeDefined()
        expect(fieldOf(shifted(new Uint8Array([...bytes, byte]), 0).subarray(0, bytes.length + 1))).toBeDefined()
        const changed = bytes.slice()
        changed[place % bytes.length] = byte
        const decoded = StageFrame.decode(changed)
        if (Either.isRight(decoded) && decoded.right.kind === "window")
          expect(decoded.right.tokens.length).toBeLessThanOrEqual(StageFrame.rowsMax)
      }),
      { numRuns: 500 }
    )
  })

  test("of a stranger is refused without a throw", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.uint8Array({ maxLength: 200 }), (bytes) => {
        bytes[0] = (bytes[0] ?? 0) % 7
        bytes[1] = StageFrame.version
        StageFrame.decode(bytes)
      }),
      { numRuns: 2000 }
    )
  })

  test("is little-endian with each field where the contract says", () => {
    const bytes = StageFrame.encode(sample)
    expect([...bytes.subarray(0, 32)]).toEqual([
      ...[2, 1, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
      ...[4, 0, 0, 0, 5, 0, 0, 0, 2, 0, 1, 0, 3, 0, 0, 0]
    ])
    expect([...bytes.subarray(32, 40)]).toEqual([7, 0, 0, 0, 8, 0, 0, 0])
    expect(bytes.length).toBe(32 + 2 * 4 + 6 * 4)
  })

  test("that breaks a bound is refused by the name of the field", () => {
    expect(fieldOf(new Uint8Array(31))).toBe("header")
    expect(fieldOf(spoilt({ 0: 0 }))).toBe("kind")
    expect(fieldOf(spoilt({ 0: 6 }))).toBe("kind")
    expect(fieldOf(spoilt({ 1: 2 }))).toBe("version")
    expect(fieldOf(spoilt({ 2: 2 }))).toBe("payload")
    expect(fieldOf(spoilt({ 2: 3 }))).toBe("width")
    expect(fieldOf(spoilt({ 2: 4 }))).toBe("element")
    expect(fieldOf(spoilt({ 2: 0 }))).toBe("width")
    expect(fieldOf(spoilt({ 3: 1 }))).toBe("reserved")
    expect(fieldOf(spoilt({ 24: 0 }))).toBe("rows")
    expect(fieldOf(spoilt({ 24: 1, 25: 2 }))).toBe("rows")
    expect(fieldOf(spoilt({ 24: 3 }))).toBe("payload")
    expect(fieldOf(spoilt({ 26: 3 }))).toBe("drawn")
    expect(fieldOf(spoilt({ 28: 4 }))).toBe("payload")
    expect(fieldOf(spoilt({ 28: 0, 29: 0 }))).toBe("width")
    expect(fieldOf(spoilt({ 30: 0xff }))).toBe("width")
    expect(fieldOf(spoilt({ 35: 0x80 }))).toBe("tokens")
    // The same rows as tokens have neither elements nor more of them than were drawn.
    expect(fieldOf(spoilt({ 0: 3 }))).toBe("drawn")
    expect(fieldOf(spoilt({ 0: 3, 26: 2 }))).toBe("element")
    expect(fieldOf(spoilt({ 0: 4 }))).toBe("header")
  })

  test("carries hidden states as it is told, and as f32 where that does not hold them", () => {
    const window = { ...sample, tokens: Int32Array.of(7), hidden: new Float32Array(64).fill(0.1) }
    const far = { ...window, hidden: new Float32Array(64).fill(70_000) }
    const stored = (bytes: Uint8Array) => ({ element: bytes[2], sizeBytes: bytes.length - 32 - 4 })
    expect(stored(StageFrame.encode(window))).toEqual({ element: 1, sizeBytes: 256 })
    expect(stored(StageFrame.encode(window, "f16"))).toEqual({ element: 2, sizeBytes: 128 })
    expect(stored(StageFrame.encode(window, "q8"))).toEqual({ element: 3, sizeBytes: 72 })
    expect(stored(StageFrame.encode(far, "f16"))).toEqual({ element: 1, sizeBytes: 256 })
    expect(StageFrame.encode(sample, "q8")).toEqual(StageFrame.encode(sample))
    expect(stored(StageFrame.encode({ ...window, hidden: undefined }, "q8"))).toEqual({ element: 0, sizeBytes: 0 })
    expect(StageFrame.decode(StageFrame.encode(far, "f16"))).toEqual(Either.right(far))
    for (const type of ["f16", "q8"] as const) {
      const bytes = StageFrame.encode(window, type)
      expect(fieldOf(bytes.subarray(0, -1))).toBe("payload")
      const got = Either.getOrThrow(StageFrame.decode(shifted(bytes, 1)))
      expect({ ...got, hidden: undefined }).toEqual({ ...window, hidden: undefined })
      const hidden = got.kind === "window" ? (got.hidden ?? []) : []
      expect(hidden.length).toBe(64)
      for (const value of hidden) expect(value).toBeCloseTo(0.1, 4)
    }
  })

  test("that opens a job on terms out of bounds is refused by the name of the field", () => {
    const terms = { seed: 1, sampling: greedy, promptTokens: 1, contextTokens: 64 }
    const front = StageFrame.encode({ kind: "open", epoch: 1, job: 1, terms }).subarray(0, StageFrame.headerBytes)
    const open = (changes: Partial<StageFrame.JobTerms>) =>
      fieldOf(new Uint8Array([...front, ...Msgpack.encode({ ...terms, ...changes })]))
    expect(open({})).toBeUndefined()
    expect(open({ seed: -1 })).toBe("seed")
    expect(open({ promptTokens: 0 })).toBe("promptTokens")
    expect(open({ sampling: { ...greedy, temperature: 3 } })).toBe("sampling.temperature")
    const many = { ...greedy, logitBias: Array.from({ length: 1024 }, () => [0x7fff_ffff, -99.9] as const) }
    expect(open({ sampling: many })).toBeUndefined()
  })
})
