/**
 * Where llama.cpp's prebuilt libraries lie: in the package of node-llama-cpp for this platform and accelerator, found
 * as node-llama-cpp itself would find it, and opened into the global scope of the process by absolute path.
 */
import { cc } from "bun:ffi"
import { readdirSync } from "node:fs"
import { dirname, join } from "node:path"
import type { Accelerator } from "../../EngineConfig.ts"
import { EngineError } from "../../EngineError.ts"

/** Packages of node-llama-cpp 3.22.1 by `platform-architecture`; Windows has no global scope for libraries. */
const packages: Readonly<Record<string, Partial<Record<Accelerator, string>>>> = {
  "linux-x64": { cpu: "linux-x64", cuda: "linux-x64-cuda", vulkan: "linux-x64-vulkan" },
  "linux-arm64": { cpu: "linux-arm64" },
  "darwin-arm64": { cpu: "mac-arm64-metal", metal: "mac-arm64-metal" },
  "darwin-x64": { cpu: "mac-x64" }
}

/** The libraries the shim needs, in the order in which they need each other. */
const libraries = [
  /^libggml-base\.(so|dylib)$/,
  /^libggml(\.\w+)?\.v[\d.]+\.(so|dylib)$/,
  /^libllama(\.\w+)?\.v[\d.]+\.(so|dylib)$/
]

/** Returns the absolute folder of the libraries for `accelerator` on this computer, or throws an `EngineError`. */
export const find = (accelerator: Accelerator): string => {
  const platform = `${process.platform}-${process.arch}`
  const name = packages[platform]?.[accelerator]
  if (name === undefined) {
    const detail = `no ${accelerator} build for ${platform}; choose another accelerator or another computer`
    throw new EngineError({ reason: "platform_unsupported", detail })
  }
  try {
    const wrapper = Bun.resolveSync("node-llama-cpp", import.meta.dir)
    const folder = join(dirname(Bun.resolveSync(`@node-llama-cpp/${name}`, dirname(wrapper))), "..", "bins")
    const [inner] = readdirSync(folder)
    if (inner !== undefined) return join(folder, inner)
  } catch (cause) {
    throw missing(name, cause)
  }
  throw missing(name)
}

/** Opens the libraries of `directory` for the shim, or throws an `EngineError`. */
export const open = (directory: string): void => {
  const { symbols } = cc({
    source: join(import.meta.dir, "open.c"),
    symbols: { open_global: { args: ["cstring"], returns: "ptr" }, open_error: { args: [], returns: "cstring" } }
  })
  const files = readdirSync(directory)
  for (const pattern of libraries) {
    const file = files.find((name) => pattern.test(name))
    if (file === undefined) throw missing(`${directory} (${pattern.source})`)
    if (symbols.open_global(Buffer.from(`${join(directory, file)}\0`)) === null) {
      throw new EngineError({ reason: "library_missing", detail: `${file} cannot be opened: ${symbols.open_error()}` })
    }
  }
}

const missing = (name: string, cause?: unknown): EngineError =>
  new EngineError({
    reason: "library_missing",
    detail: `${name} is not installed; run bun install on this computer`,
    cause
  })
