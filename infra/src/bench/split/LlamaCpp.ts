/**
 * llama.cpp's own programs, built on this computer from the release that node-llama-cpp brings: a server that lends its
 * processor over TCP, and the benchmark that computes with such servers. Built once and kept; another release is built
 * anew.
 */
import { existsSync, renameSync, rmSync } from "node:fs"
import { availableParallelism } from "node:os"
import { dirname, join } from "node:path"
import * as Programs from "../Programs.ts"

/** Represents where the programs lie. */
export interface LlamaCpp {
  readonly release: string
  readonly server: string
  readonly bench: string
}

/** Returns the programs of the release, and builds them in `directory` where they are not there yet. */
export const make = async (directory: string, tell: (line: string) => void): Promise<LlamaCpp> => {
  const brought = join(dirname(Bun.resolveSync("node-llama-cpp", join(Programs.root, "packages/engine"))), "../llama")
  // The package's own file: what it names is a tag.
  const { release } = (await Bun.file(join(brought, "binariesGithubRelease.json")).json()) as {
    readonly release: string
  }
  const source = join(directory, `llama.cpp-${release}`)
  const [server, bench] = [join(source, "build/bin", serverTarget), join(source, "build/bin", benchTarget)]
  if (!existsSync(server) || !existsSync(bench)) {
    const missing = missingOf(Bun.which)
    if (missing !== undefined) throw new Error(missing)
    tell(`building llama.cpp ${release}, once: a quarter of an hour on two processors`)
    await build(join(brought, "gitRelease.bundle"), source)
  }
  return { release, server, bench }
}

/** Returns what must be installed before llama.cpp can be built, none where all is there. */
export const missingOf = (which: (command: string) => string | null): string | undefined => {
  const missing = tools.filter(({ commands }) => commands.every((command) => which(command) === null))
  if (missing.length === 0) return undefined
  const named = missing.map(({ name }) => name).join(", ")
  return `the comparison builds llama.cpp first, which needs ${named}: install it, e.g. apt install git cmake g++ make`
}

// internal

const serverTarget = "ggml-rpc-server"
const benchTarget = "llama-bench"

const tools = [
  { name: "git", commands: ["git"] },
  { name: "CMake", commands: ["cmake"] },
  { name: "a C++ compiler", commands: ["c++", "g++", "clang++"] },
  { name: "make", commands: ["make", "ninja"] }
]

/** As the bundled libraries are built, but for this processor alone, and without what a comparison has no use for. */
const settings = [
  ...["CMAKE_BUILD_TYPE=Release", "GGML_RPC=ON", "GGML_NATIVE=ON", "BUILD_SHARED_LIBS=ON"],
  ...["LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=OFF", "LLAMA_OPENSSL=OFF"]
]

/** A build that was broken off goes on where it was; a source that did not come whole is fetched again. */
const build = async (bundle: string, source: string): Promise<void> => {
  if (!existsSync(source)) {
    const partial = `${source}.partial`
    rmSync(partial, { recursive: true, force: true })
    await Programs.run(["git", "clone", "--quiet", bundle, partial])
    renameSync(partial, source)
  }
  const folder = join(source, "build")
  await Programs.run(["cmake", "-S", source, "-B", folder, ...settings.map((setting) => `-D${setting}`)])
  const parallel = String(availableParallelism())
  await Programs.run(["cmake", "--build", folder, "--parallel", parallel, "--target", serverTarget, benchTarget])
}
