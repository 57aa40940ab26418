/** What must be there before llama.cpp can be built, and how its servers share a model. */
import { expect, test } from "bun:test"
import * as LlamaCpp from "@weft/infra/bench/split/LlamaCpp"
import * as RpcMachines from "@weft/infra/bench/split/RpcMachines"

const having =
  (...commands: ReadonlyArray<string>) =>
  (command: string): string | null =>
    commands.includes(command) ? `/bin/${command}` : null

test("nothing is missing where git, CMake, some compiler and some make are there", () => {
  expect(LlamaCpp.missingOf(having("git", "cmake", "clang++", "ninja"))).toBeUndefined()
  expect(LlamaCpp.missingOf(having("git", "cmake", "g++", "c++", "make"))).toBeUndefined()
})

test("what is missing is told by name, and how to install it", () => {
  const message = LlamaCpp.missingOf(having("git", "ninja"))
  expect(message).toContain("needs CMake, a C++ compiler:")
  expect(message).toContain("apt install")
  expect(LlamaCpp.missingOf(having())).toContain("needs git, CMake, a C++ compiler, make:")
})

test("the machine that asks keeps its share of the layers, and the head goes with the rest", () => {
  expect([2, 3, 4].map((machines) => RpcMachines.remoteLayers(20, machines))).toEqual([11, 14, 16])
  expect(RpcMachines.remoteLayers(8, 2)).toBe(5)
})
