/** The structs that the shim mirrors by hand, against the library that is installed. */

import { cc } from "bun:ffi"
import { expect, test } from "bun:test"
import { join } from "node:path"
import * as Libraries from "../../packages/engine/src/internal/llama/Libraries.ts"

const into = { args: ["ptr"], returns: "void" } as const
const count = { args: [], returns: "i32" } as const

const layout = () => {
  Libraries.open(Libraries.find("cpu"))
  const { symbols } = cc({
    source: join(import.meta.dir, "layout.c"),
    symbols: {
      model_defaults_into: into,
      context_defaults_into: into,
      model_covered: into,
      context_covered: into,
      model_bytes: count,
      context_bytes: count
    }
  })
  return symbols
}

/** More than either struct has. */
const roomBytes = 512

/** Returns the places of the bytes that `write` sets, whatever they were before. */
const written = (write: (out: Uint8Array) => void): ReadonlyArray<number> => {
  const first = new Uint8Array(roomBytes).fill(0xa5)
  const second = new Uint8Array(roomBytes).fill(0x5a)
  write(first)
  write(second)
  return [...first.keys()].filter((at) => first[at] === second[at])
}

const places = (covered: Uint8Array): ReadonlyArray<number> => [...covered.keys()].filter((at) => covered[at] === 1)

test("llama_model_params: the fields cover exactly the bytes that the library writes", () => {
  const native = layout()
  const covered = new Uint8Array(roomBytes)
  native.model_covered(covered)
  expect(places(covered)).toEqual([...written((out) => native.model_defaults_into(out))])
  expect(native.model_bytes()).toBe(80)
})

test("llama_context_params: the fields cover exactly the bytes that the library writes", () => {
  const native = layout()
  const covered = new Uint8Array(roomBytes)
  native.context_covered(covered)
  expect(places(covered)).toEqual([...written((out) => native.context_defaults_into(out))])
  expect(native.context_bytes()).toBe(160)
})
