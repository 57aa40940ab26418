/**
 * Writes GGUF files for tests: good ones, and ones that lie in any field. `model` is a small whole Llama that the gate
 * accepts; a test takes it apart and spoils one thing.
 */

/** Represents a metadata value as it stands in the file: the number of its type and its bytes. */
export interface Value {
  readonly type: number
  readonly bytes: Uint8Array
}

/** Represents one row of the tensor table. */
export interface Tensor {
  readonly name: string
  readonly dims: ReadonlyArray<number | bigint>
  /** ggml's number; 0 is F32, 1 is F16. */
  readonly type: number
  /** Bytes of its data; absent: what F32 or F16 need. */
  readonly sizeBytes?: number
  /** Absent: right behind the tensor before, aligned. */
  readonly offset?: number | bigint
  /** Absent: as many as there are. */
  readonly dimensions?: number
}

/** Represents a file; every field that is absent is written as it should be. */
export interface File {
  readonly magic?: string
  readonly version?: number
  readonly keyCount?: bigint
  readonly tensorCount?: bigint
  readonly entries: ReadonlyArray<readonly [key: string, value: Value]>
  readonly tensors: ReadonlyArray<Tensor>
  /** Alignment the data are written with. */
  readonly alignment?: number
  /** Bytes to add behind the data, or to take from their end. */
  readonly tailBytes?: number
}

const packed = (sizeBytes: number, set: (view: DataView) => void): Uint8Array => {
  const view = new DataView(new ArrayBuffer(sizeBytes))
  set(view)
  return new Uint8Array(view.buffer)
}
const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))
const uint32 = (value: number): Uint8Array => packed(4, (view) => view.setUint32(0, value, true))
const uint64 = (value: number | bigint): Uint8Array => packed(8, (view) => view.setBigUint64(0, BigInt(value), true))
const prefixed = (bytes: Uint8Array): Uint8Array => concat([uint64(bytes.length), bytes])
const utf8 = (text: string): Uint8Array => prefixed(new TextEncoder().encode(text))

/** Makes metadata values. */
export const value = {
  u8: (number: number): Value => ({ type: 0, bytes: Uint8Array.of(number) }),
  u32: (number: number): Value => ({ type: 4, bytes: uint32(number) }),
  i32: (number: number): Value => ({ type: 5, bytes: packed(4, (view) => view.setInt32(0, number, true)) }),
  f32: (number: number): Value => ({ type: 6, bytes: packed(4, (view) => view.setFloat32(0, number, true)) }),
  bool: (number: number): Value => ({ type: 7, bytes: Uint8Array.of(number) }),
  string: (text: string): Value => ({ type: 8, bytes: utf8(text) }),
  u64: (number: bigint): Value => ({ type: 10, bytes: uint64(number) }),
  /** An array of the elements' own type; `length` and `type` are what it claims. */
  array: (
    elements: ReadonlyArray<Value>,
    claims: { readonly length?: bigint; readonly type?: number } = {}
  ): Value => ({
    type: 9,
    bytes: concat([
      uint32(claims.type ?? elements[0]?.type ?? 4),
      uint64(claims.length ?? elements.length),
      ...elements.map((element) => element.bytes)
    ])
  }),
  /** Any bytes under any type, and as many zeros behind them. */
  raw: (type: number, bytes: Uint8Array, zeros = 0): Value => ({ type, bytes: concat([bytes, new Uint8Array(zeros)]) })
} as const

const aligned = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment

const bytesOf = (tensor: Tensor): number =>
  tensor.sizeBytes ?? tensor.dims.reduce<number>((product, dim) => product * Number(dim), tensor.type === 0 ? 4 : 2)

/** Returns the bytes of `file`; the data of all tensors are zeros. */
export const write = (file: File): Uint8Array => {
  const alignment = file.alignment ?? 32
  let end = 0
  const rows = file.tensors.map((tensor) => {
    const offset = aligned(end, alignment)
    end = offset + bytesOf(tensor)
    return concat([
      utf8(tensor.name),
      uint32(tensor.dimensions ?? tensor.dims.length),
      ...tensor.dims.map(uint64),
      uint32(tensor.type),
      uint64(tensor.offset ?? offset)
    ])
  })
  const header = concat([
    new TextEncoder().encode(file.magic ?? "GGUF"),
    uint32(file.version ?? 3),
    uint64(file.tensorCount ?? file.tensors.length),
    uint64(file.keyCount ?? file.entries.length),
    ...file.entries.flatMap(([key, { type, bytes }]) => [utf8(key), uint32(type), bytes]),
    ...rows
  ])
  const sizeBytes = aligned(header.length, alignment) + aligned(end, alignment) + (file.tailBytes ?? 0)
  const whole = new Uint8Array(sizeBytes)
  whole.set(header.subarray(0, sizeBytes))
  return whole
}

/** Sizes of `model`. */
export const sizes = { embedding: 32, layers: 2, heads: 4, groups: 2, inner: 64, context: 128 } as const
/** Tokens of `model`; the first three are control tokens. */
export const tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "d", "ab"] as const

/** A whole Llama of two layers. */
export const model: File = {
  entries: [
    ["general.architecture", value.string("llama")],
    ["general.name", value.string("writer's llama")],
    ["general.file_type", value.u32(1)],
    ["llama.block_count", value.u32(sizes.layers)],
    ["llama.context_length", value.u32(sizes.context)],
    ["llama.embedding_length", value.u32(sizes.embedding)],
    ["llama.feed_forward_length", value.u32(sizes.inner)],
    ["llama.attention.head_count", value.u32(sizes.heads)],
    ["llama.attention.head_count_kv", value.u32(sizes.groups)],
    ["llama.attention.layer_norm_rms_epsilon", value.f32(1e-5)],
    ["tokenizer.ggml.model", value.string("gpt2")],
    ["tokenizer.ggml.tokens", value.array(tokens.map(value.string))],
    ["tokenizer.ggml.token_type", value.array([2, 3, 3, 1, 1, 1, 1, 1].map(value.i32))],
    ["tokenizer.ggml.merges", value.array([value.string("a b")])],
    ["tokenizer.ggml.bos_token_id", value.u32(1)],
    ["tokenizer.ggml.eos_token_id", value.u32(2)],
    ["tokenizer.ggml.add_bos_token", value.bool(1)]
  ],
  tensors: [
    { name: "token_embd.weight", dims: [sizes.embedding, tokens.length], type: 1 },
    { name: "output_norm.weight", dims: [sizes.embedding], type: 0 },
    ...Array.from({ length: sizes.layers }, (_, layer): ReadonlyArray<Tensor> => {
      const key = (sizes.embedding / sizes.heads) * sizes.groups
      const named = (name: string, dims: ReadonlyArray<number>): Tensor => ({
        name: `blk.${layer}.${name}.weight`,
        dims,
        type: dims.length === 1 ? 0 : 1
      })
      return [
        named("attn_norm", [sizes.embedding]),
        named("attn_q", [sizes.embedding, sizes.embedding]),
        named("attn_k", [sizes.embedding, key]),
        named("attn_v", [sizes.embedding, key]),
        named("attn_output", [sizes.embedding, sizes.embedding]),
        named("ffn_norm", [sizes.embedding]),
        named("ffn_gate", [sizes.embedding, sizes.inner]),
        named("ffn_up", [sizes.embedding, sizes.inner]),
        named("ffn_down", [sizes.inner, sizes.embedding])
      ]
    }).flat()
  ]
}

/** Returns `model` with some keys set to other values, added at the end, or left out (`undefined`). */
export const withKeys = (changes: Readonly<Record<string, Value | undefined>>): File => {
  const kept = model.entries.flatMap(([key, old]) => {
    const now = key in changes ? changes[key] : old
    return now === undefined ? [] : [[key, now] as const]
  })
  const known = new Set(model.entries.map(([key]) => key))
  const added = Object.entries(changes).flatMap(([key, now]) =>
    known.has(key) || now === undefined ? [] : [[key, now] as const]
  )
  return { ...model, entries: [...kept, ...added] }
}

/** Returns `model` with one tensor changed, or left out (`undefined`). */
export const withTensor = (name: string, change: Partial<Tensor> | undefined): File => ({
  ...model,
  tensors: model.tensors.flatMap((tensor) =>
    tensor.name !== name ? [tensor] : change === undefined ? [] : [{ ...tensor, ...change }]
  )
})
