/**
 * GGUF files that must not pass, each with the reason it must be refused for. The first four groups follow the kinds of
 * handcrafted files in llama.cpp's `tests/test-gguf.cpp`; the last are ours, most of them reported against some reader.
 */
import type { GgufReason } from "@weft/engine/GgufRejected"
import { type File, model, sizes, type Tensor, tokens, value, withKeys, withTensor, write } from "./gguf.ts"

/** Represents one file of the corpus. */
export interface Case {
  readonly name: string
  readonly bytes: () => Uint8Array
  readonly reason: GgufReason
}

const file = (name: string, reason: GgufReason, written: File): Case => ({ name, reason, bytes: () => write(written) })
const cut = (name: string, reason: GgufReason, length: number): Case => ({
  name,
  reason,
  bytes: () => write(model).subarray(0, length)
})
const keys = (name: string, reason: GgufReason, changes: Parameters<typeof withKeys>[0]): Case =>
  file(name, reason, withKeys(changes))
const tensor = (name: string, reason: GgufReason, which: string, change: Partial<Tensor> | undefined): Case =>
  file(name, reason, withTensor(which, change))

/** An array that claims a length and holds nothing. */
const claimed = (length: bigint, type = 4) => value.array([], { length, type })
const string = (length: number) => value.string("x".repeat(length))
const empty = (length: number) => value.raw(9, value.array([], { type: 8, length: BigInt(length) }).bytes, length * 8)
/** A string that claims a length and holds nothing. */
const claimedString = (length: bigint) => value.raw(8, new Uint8Array(new BigUint64Array([length]).buffer))
const embd = "token_embd.weight"
const norm = "output_norm.weight"

/** Magic, version and counts. */
export const header: ReadonlyArray<Case> = [
  file("another magic", "NotGguf", { ...model, magic: "GGML" }),
  file("version 0", "UnsupportedVersion", { ...model, version: 0 }),
  file("version 1", "UnsupportedVersion", { ...model, version: 1 }),
  file("a version of the future", "UnsupportedVersion", { ...model, version: 4 }),
  file("version 3 of a big-endian machine", "UnsupportedVersion", { ...model, version: 0x03000000 }),
  file("no tensors", "NoTensors", { ...model, tensors: [] }),
  file("more tensors than rows", "BadTensor", { ...model, tensorCount: 21n }),
  file("more keys than there are", "TooLarge", { ...model, keyCount: 18n })
]

/** Keys and values. */
export const metadata: ReadonlyArray<Case> = [
  keys("a value of an unknown type", "BadMetadata", { x: value.raw(13, new Uint8Array(8)) }),
  keys("an array of an unknown type", "BadMetadata", { x: value.array([], { type: 13, length: 1n }) }),
  keys("an array of arrays", "BadMetadata", { x: value.array([value.array([])]) }),
  file("a key that is there twice", "BadMetadata", {
    ...model,
    entries: [...model.entries, ...model.entries.slice(0, 1)]
  }),
  keys("a key of 70,000 bytes", "TooLarge", { ["k".repeat(70_000)]: value.u8(1) }),
  keys("a truth value of 2", "BadMetadata", { x: value.bool(2) }),
  keys("an alignment that is no power of two", "BadAlignment", { "general.alignment": value.u32(48) }),
  keys("an alignment that is a string", "BadAlignment", { "general.alignment": value.string("32") }),
  keys("an architecture that is a number", "BadMetadata", { "general.architecture": value.u32(1) })
]

/** Rows of the tensor table. */
export const tensors: ReadonlyArray<Case> = [
  tensor("a name of 64 bytes", "TooLarge", norm, { name: "n".repeat(64) }),
  tensor("a name that is empty", "BadTensor", norm, { name: "" }),
  tensor("a name with a zero byte", "BadTensor", norm, { name: "out\0put" }),
  file("a name that is there twice", "BadTensor", {
    ...model,
    tensors: [...model.tensors, ...model.tensors.slice(0, 1)]
  }),
  tensor("no dimensions", "BadTensor", norm, { dims: [] }),
  tensor("five dimensions", "BadTensor", norm, { dims: [2, 2, 2, 2, 2] }),
  tensor("a dimension of zero", "BadTensor", embd, { dims: [sizes.embedding, 0], sizeBytes: 0 }),
  tensor("a negative dimension", "BadTensor", embd, { dims: [sizes.embedding, 2n ** 64n - 1n], sizeBytes: 64 }),
  tensor("dimensions whose product overflows", "BadTensor", embd, { dims: [2n ** 32n, 2n ** 32n], sizeBytes: 64 }),
  tensor("dimensions whose product wraps to 0", "BadTensor", embd, {
    dims: [2n ** 16n, 2n ** 16n, 2n ** 16n, 2n ** 16n],
    sizeBytes: 64
  }),
  tensor("a type that does not exist", "UnsupportedType", embd, { type: 43 }),
  tensor("a type that was removed", "UnsupportedType", embd, { type: 31 }),
  tensor("a row that is no whole number of blocks", "BadTensor", embd, { type: 12, sizeBytes: 512 }),
  tensor("an offset that is not aligned", "BadLayout", norm, { offset: 520 }),
  tensor("an offset behind the file", "BadLayout", norm, { offset: 2n ** 62n })
]

/** The data behind the table. */
export const data: ReadonlyArray<Case> = [
  file("the last tensor lacks half of its data", "Truncated", { ...model, tailBytes: -2048 }),
  file("no data at all", "Truncated", { ...model, tailBytes: -29_000 }),
  tensor("tensors that overlap", "BadLayout", norm, { offset: 0 }),
  tensor("a gap between tensors", "BadLayout", "blk.0.attn_norm.weight", { offset: 1024 }),
  file("an alignment the data do not have", "BadLayout", withKeys({ "general.alignment": value.u32(1024) })),
  file("a file that is over-long", "OverLong", { ...model, tailBytes: 4097 })
]

/** What other readers were caught by. */
export const ours: ReadonlyArray<Case> = [
  { name: "an empty file", reason: "Truncated", bytes: () => new Uint8Array(0) },
  cut("a file of 8 bytes", "Truncated", 8),
  cut("a file of 23 bytes", "Truncated", 23),
  cut("a header cut in a string", "Truncated", 300),
  cut("a header cut in the tensor table", "Truncated", 1300),
  file("2^63 keys", "TooManyEntries", { ...model, keyCount: 2n ** 63n }),
  file("2^63 tensors", "TooManyEntries", { ...model, tensorCount: 2n ** 63n }),
  keys("an array of 10^9", "TooManyEntries", { x: claimed(10n ** 9n) }),
  keys("an array of 2^40", "TooManyEntries", { x: claimed(2n ** 40n) }),
  keys("an array of 2^63", "TooManyEntries", { x: claimed(2n ** 63n) }),
  keys("three million empty strings", "TooManyEntries", { x: empty(10 ** 6), y: empty(10 ** 6), z: empty(10 ** 6) }),
  file("an array of 10^6 strings that are not there", "Truncated", {
    ...withKeys({ x: claimed(10n ** 6n, 8) }),
    tensors: []
  }),
  keys("an array of 10^6 doubles that are not there", "Truncated", { x: claimed(10n ** 6n, 12) }),
  keys("a string of 2^63 bytes", "TooLarge", { x: claimedString(2n ** 63n) }),
  keys("a string of 2 MiB", "TooLarge", { x: string(2 * 1024 * 1024) }),
  keys("strings of 5 MiB together", "TooLarge", Object.fromEntries([..."abcde"].map((key) => [key, string(2 ** 20)]))),
  keys("a string longer than the file", "Truncated", { x: claimedString(1_000_000n) }),
  tensor("2^32 − 1 dimensions", "BadTensor", norm, { dimensions: 2 ** 32 - 1 }),
  tensor("an F64 tensor", "UnsupportedType", embd, { type: 28, sizeBytes: 2048 }),
  tensor("an I32 tensor", "UnsupportedType", embd, { type: 26, sizeBytes: 1024 }),
  tensor("a norm in half precision", "UnsupportedType", norm, { type: 1 }),
  keys("an empty key", "BadMetadata", { "": value.u32(1) }),
  keys("a million blocks", "BadShape", { "llama.block_count": value.u32(1_000_000) }),
  keys("513 blocks", "BadShape", { "llama.block_count": value.u32(513) }),
  keys("a block that is missing", "BadShape", { "llama.block_count": value.u32(3) }),
  keys("a block beyond those stated", "BadShape", { "llama.block_count": value.u32(1) }),
  keys("an alignment of 0", "BadAlignment", { "general.alignment": value.u32(0) }),
  keys("an alignment of 2^31", "BadAlignment", { "general.alignment": value.u32(2 ** 31) }),
  keys("an alignment of 64 bits", "BadAlignment", { "general.alignment": value.u64(32n) }),
  keys("no architecture", "NoArchitecture", { "general.architecture": undefined }),
  keys("an architecture nobody knows", "UnsupportedArchitecture", { "general.architecture": value.string("llama\0x") }),
  keys("an embedding model", "UnsupportedArchitecture", { "general.architecture": value.string("nomic-bert") }),
  keys("no context length", "BadShape", { "llama.context_length": undefined }),
  keys("a context of −1", "BadShape", { "llama.context_length": value.i32(-1) }),
  keys("an embedding length that is a string", "BadShape", { "llama.embedding_length": value.string("32") }),
  keys("an embedding length that is another", "BadShape", { "llama.embedding_length": value.u32(64) }),
  keys("heads that do not divide", "BadShape", { "llama.attention.head_count": value.u32(5) }),
  keys("key heads that do not divide", "BadShape", { "llama.attention.head_count_kv": value.u32(3) }),
  keys("heads for one layer of two", "BadShape", { "llama.attention.head_count": value.array([value.u32(4)]) }),
  keys("heads of other tensors", "BadShape", { "llama.attention.head_count_kv": value.u32(4) }),
  tensor("no embedding", "BadShape", embd, undefined),
  tensor("an output of another vocabulary", "BadShape", norm, { name: "output.weight" }),
  keys("one part of a split model", "SplitFile", { "split.count": value.u32(2) }),
  keys("no tokenizer", "NoTokenizer", { "tokenizer.ggml.model": undefined }),
  keys("no tokens", "NoTokenizer", { "tokenizer.ggml.tokens": undefined }),
  keys("a tokenizer that writes out of bounds", "BadTokenizer", { "tokenizer.ggml.model": value.string("plamo2") }),
  keys("tokens that are numbers", "BadTokenizer", {
    "tokenizer.ggml.tokens": value.array(tokens.map(() => value.u32(1)))
  }),
  keys("one token too few", "BadShape", {
    "tokenizer.ggml.tokens": value.array(tokens.slice(1).map(value.string)),
    "tokenizer.ggml.token_type": undefined
  }),
  keys("token types of another length", "BadTokenizer", { "tokenizer.ggml.token_type": value.array([value.i32(1)]) }),
  keys("token types that are strings", "BadTokenizer", {
    "tokenizer.ggml.token_type": value.array(tokens.map(value.string))
  }),
  keys("scores that are whole numbers", "BadTokenizer", {
    "tokenizer.ggml.scores": value.array(tokens.map(() => value.i32(1)))
  }),
  keys("an end token outside of the vocabulary", "BadTokenizer", { "tokenizer.ggml.eos_token_id": value.u32(8) }),
  keys("a chat template over 256 KiB", "TemplateTooLarge", { "tokenizer.chat_template": string(256 * 1024 + 1) })
]
