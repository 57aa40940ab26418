/**
 * What the gate takes and refuses: bundled models beside Hugging Face's parser, a corpus of bad files with the reason
 * for each, 2,000 spoilt headers, and how much it reads.
 */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { gguf } from "@huggingface/gguf"
import * as GgufGate from "@weft/engine/GgufGate"
import type { GgufHeader } from "@weft/engine/GgufHeader"
import { GgufRejected } from "@weft/engine/GgufRejected"
import * as GgufSource from "@weft/engine/GgufSource"
import { Effect, Either, FastCheck } from "effect"
import { it } from "../support/effect.ts"
import { model, sizes, tokens, value, withKeys, write } from "../support/gguf.ts"
import * as corpus from "../support/ggufCorpus.ts"

const models = join(import.meta.dir, "../../packages/engine/models")
const nano = join(models, "tiny-nano-f16.gguf")
const small = join(models, "tiny-small-f16.gguf")

/** Ten times what any check took on an idle machine: it finds hangs, not slowness. */
const hangMs = 1000

const check = (bytes: Uint8Array) => Effect.either(GgufGate.check(GgufSource.fromBytes(bytes)))
const checkFile = (path: string) =>
  Effect.promise(() => Bun.file(path).bytes()).pipe(
    Effect.flatMap((bytes) => GgufGate.check(GgufSource.fromBytes(bytes)))
  )

const groups = [
  ["header", corpus.header, 8],
  ["metadata", corpus.metadata, 9],
  ["tensors", corpus.tensors, 15],
  ["data", corpus.data, 6],
  ["ours", corpus.ours, 53]
] as const
for (const [group, cases, count] of groups) {
  test(`the corpus has ${count} files of the group ${group}`, () => {
    expect(cases.length).toBe(count)
  })
  for (const { name, bytes, reason } of cases)
    it.live(`refuses ${name}: ${reason}`, () =>
      Effect.gen(function* () {
        const written = bytes()
        const began = performance.now()
        const outcome = yield* check(written)
        const tookMs = performance.now() - began
        expect(Either.isLeft(outcome) ? outcome.left.reason : "accepted").toBe(reason)
        expect(tookMs).toBeLessThan(hangMs)
      })
    )
}

it.live("accepts a small whole model and says what it is", () =>
  Effect.gen(function* () {
    const template = "{{ messages[0]['content'] }}"
    const bytes = write(withKeys({ "tokenizer.chat_template": value.string(template) }))
    const header = yield* GgufGate.check(GgufSource.fromBytes(bytes))
    expect(header).toMatchObject({
      architecture: "llama",
      name: "writer's llama",
      contextTokens: sizes.context,
      layers: sizes.layers,
      embeddingLength: sizes.embedding,
      vocabularySize: tokens.length,
      quantization: "F16",
      chatTemplate: template,
      tokens: { bosToken: "<s>", eosToken: "</s>", controlTokens: ["<unk>", "<s>", "</s>"], addBos: true }
    })
    expect(header.tensors.map((tensor) => tensor.name)).toEqual(model.tensors.map((tensor) => tensor.name))
    const last = header.tensors.at(-1)
    expect((last?.offset ?? 0) + (last?.sizeBytes ?? 0)).toBe(bytes.length)
  })
)

it.live("accepts other alignments, padding behind the data, heads per layer, and no file type", () =>
  Effect.gen(function* () {
    const wide = { ...withKeys({ "general.alignment": value.u32(4096) }), alignment: 4096 }
    expect((yield* GgufGate.check(GgufSource.fromBytes(write(wide)))).alignmentBytes).toBe(4096)
    const padded = { ...model, tailBytes: GgufGate.trailingBytesMax }
    expect((yield* GgufGate.check(GgufSource.fromBytes(write(padded)))).alignmentBytes).toBe(32)
    const heads = value.array([value.u32(sizes.heads), value.u32(sizes.heads)])
    const changed = withKeys({ "llama.attention.head_count": heads, "general.file_type": undefined })
    expect((yield* GgufGate.check(GgufSource.fromBytes(write(changed)))).quantization).toBe("F16")
  })
)

/** Counts what is read of `bytes`. */
const counted = (bytes: Uint8Array) => {
  const reading = { bytes: 0 }
  const read: GgufSource.ByteSource["read"] = (offset, length) => {
    reading.bytes += length
    return Effect.succeed(bytes.subarray(offset, offset + length))
  }
  return { reading, source: { sizeBytes: bytes.length, read } }
}

it.live("accepts a header larger than one reading", () =>
  Effect.gen(function* () {
    const long = value.array(Array.from({ length: 90_000 }, (_, index) => value.string(`merge ${index}`)))
    const { source } = counted(write(withKeys({ "tokenizer.ggml.merges": long })))
    const header = yield* GgufGate.check(source)
    expect(header.metadata.get("tokenizer.ggml.merges")?.value).toMatchObject({ elementType: "string", length: 90_000 })
    expect(header.dataOffset).toBeGreaterThan(1024 * 1024)
  })
)

it.live("reads no more than the first MiB of a large file with a small header", () =>
  Effect.gen(function* () {
    const large = { name: "rope_freqs.weight", dims: [2 ** 21], type: 0 }
    const { source, reading } = counted(write({ ...model, tensors: [...model.tensors, large] }))
    yield* GgufGate.check(source)
    expect(source.sizeBytes).toBeGreaterThan(8 * 1024 * 1024)
    expect(reading.bytes).toBe(1024 * 1024)
  })
)

it.live("refuses a header over 32 MiB after 32 MiB", () =>
  Effect.gen(function* () {
    const long = value.string("x".repeat(60_000))
    const strings = value.array(Array.from({ length: 600 }, () => long))
    const { source, reading } = counted(write(withKeys({ x: strings })))
    const outcome = yield* Effect.either(GgufGate.check(source))
    expect(Either.isLeft(outcome) && outcome.left.reason).toBe("TooLarge")
    expect(reading.bytes).toBe((1 + 4 + 16 + 32) * 1024 * 1024)
  })
)

/** Compares what the gate found in a file with what Hugging Face's parser finds there. */
const sameAsHuggingFace = (path: string, header: GgufHeader) =>
  Effect.gen(function* () {
    const theirs = yield* Effect.promise(() => gguf(path, { allowLocalFile: true, typedMetadata: true }))
    expect(header.dataOffset).toBe(Number(theirs.tensorDataOffset))
    expect(
      header.tensors.map(({ name, dims, offset }) => ({
        name,
        dims: dims.map(BigInt),
        offset: offset - header.dataOffset
      }))
    ).toEqual(theirs.tensorInfos.map(({ name, shape, offset }) => ({ name, dims: shape, offset: Number(offset) })))
    const own = ["version", "tensor_count", "kv_count"]
    expect([...header.metadata.keys()]).toEqual(Object.keys(theirs.typedMetadata).filter((key) => !own.includes(key)))
    for (const [key, entry] of header.metadata) {
      const other: unknown = theirs.typedMetadata[key]?.value
      if (entry.type !== "array")
        expect<unknown>(entry.value).toEqual(typeof other === "bigint" ? Number(other) : other)
      else {
        expect(Array.isArray(other) && other.length).toBe(entry.value.length)
        if (entry.value.values !== undefined) expect<unknown>(entry.value.values).toEqual(other)
      }
    }
  })

it.live("finds in the bundled models what Hugging Face's parser finds", () =>
  Effect.gen(function* () {
    for (const path of [nano, small]) yield* sameAsHuggingFace(path, yield* checkFile(path))
  })
)

it.live(
  "2,000 spoilt headers of a real model are accepted or refused, never a throw, a hang or a heap",
  () =>
    Effect.gen(function* () {
      const original = yield* Effect.promise(() => Bun.file(nano).bytes())
      const { dataOffset, tensors } = yield* GgufGate.check(GgufSource.fromBytes(original))
      const table = dataOffset - tensors.length * 60
      const beforeBytes = memoryBytes()
      let refused = 0
      for (const change of FastCheck.sample(changes(dataOffset, table), { numRuns: 2000, seed: 20_26 })) {
        const spoilt = spoil(original, change)
        const began = performance.now()
        const outcome = yield* check(spoilt)
        const tookMs = performance.now() - began
        expect(tookMs).toBeLessThan(hangMs)
        if (Either.isLeft(outcome)) {
          expect(outcome.left).toBeInstanceOf(GgufRejected)
          refused += 1
        } else
          for (const one of outcome.right.tensors) expect(one.offset + one.sizeBytes).toBeLessThanOrEqual(spoilt.length)
      }
      expect(refused).toBeGreaterThan(500)
      expect(memoryBytes() - beforeBytes).toBeLessThan(128 * 1024 * 1024)
    }),
  120_000
)

const memoryBytes = (): number => {
  Bun.gc(true)
  return process.memoryUsage.rss()
}

interface Change {
  readonly at: number
  readonly remove: number
  readonly insert: ReadonlyArray<number>
}

const number64 = FastCheck.constantFrom(
  0n,
  1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 62n,
  2n ** 63n,
  2n ** 64n - 1n
)
const inserted = FastCheck.oneof(
  FastCheck.array(FastCheck.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 4 }),
  number64.map((number) => [...new Uint8Array(new BigUint64Array([number]).buffer)]),
  FastCheck.constant([])
)

/** Overwrites, insertions, removals and cuts, most of them where the structure is: at the start and in the table. */
const changes = (headerBytes: number, table: number): FastCheck.Arbitrary<Change> => {
  const at = FastCheck.oneof(
    FastCheck.nat(64),
    FastCheck.nat(1500),
    FastCheck.integer({ min: table, max: headerBytes - 1 }),
    FastCheck.nat(headerBytes - 1)
  )
  const overwrite = FastCheck.record({ at, insert: inserted }).map((one) => ({ ...one, remove: one.insert.length }))
  const splice = FastCheck.record({ at, insert: inserted, remove: FastCheck.nat(64) })
  const cut = at.map((from) => ({ at: from, insert: [], remove: Number.MAX_SAFE_INTEGER }))
  return FastCheck.oneof(
    { weight: 6, arbitrary: overwrite },
    { weight: 2, arbitrary: splice },
    { weight: 1, arbitrary: cut }
  )
}

const spoil = (bytes: Uint8Array, change: Change): Uint8Array =>
  Buffer.concat([
    bytes.subarray(0, change.at),
    Uint8Array.from(change.insert),
    bytes.subarray(Math.min(bytes.length, change.at + change.remove))
  ])
