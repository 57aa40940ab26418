/**
 * Which file a program is started from: its bundle or its source. Free of libraries, which would have to be loaded
 * before the program.
 */
import { spawnSync } from "node:child_process"
import { accessSync, constants, existsSync, mkdirSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { Glob } from "bun"

/** Returns the path of the program's bundle, made if need be, or of its source where there can be none. */
export const bundleOf = (source: URL): string => {
  const path = fileURLToPath(source)
  const root = rootOf(dirname(path))
  if (root === undefined || process.env["WEFT_FROM_SOURCES"] === "1") return path
  const name = relative(root, path)
    .replace(/\.ts$/, "")
    .replaceAll(/[^\w-]+/g, "-")
  const bundle = join(root, ".weft", "programs", `${name}-${versionOf(root)}.js`)
  return existsSync(bundle) || (isWritable(dirname(bundle)) && make(root, path, bundle)) ? bundle : path
}

/** Returns the checkout that `folder` is in: the nearest one with a lock file. */
export const rootOf = (folder: string): string | undefined => {
  if (existsSync(join(folder, "bun.lock"))) return folder
  const above = dirname(folder)
  return above === folder ? undefined : rootOf(above)
}

// internal

/** Longest making of a bundle: it takes a second, and a start without one no more than three. */
const bundleMsMax = 30_000

/** What a bundle is made of: the packages of the checkout, which libraries they have, and how they are translated. */
const inputs = ["{packages,apps}/*/src/**/*.{ts,tsx}", "{packages,apps}/*/package.json", "{bun.lock,tsconfig.json}"]

const bundler = fileURLToPath(new URL("./bundler.ts", import.meta.url))

/** Returns a word that changes with anything a bundle is made of; times of files change in containers and archives. */
const versionOf = (root: string): string => {
  const files = inputs.flatMap((pattern) => [...new Glob(pattern).scanSync({ cwd: root })].sort())
  let version = Bun.hash(`${Bun.version} ${Bun.revision} ${process.platform} ${process.arch} ${root}`)
  for (const file of files) version = Bun.hash(readFileSync(join(root, file)), Bun.hash(file, version))
  return version.toString(36)
}

const isWritable = (folder: string): boolean => {
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Makes a bundle in a process of its own, whose memory a program would otherwise keep; false where that fails. */
const make = (root: string, source: string, bundle: string): boolean =>
  // Bun looks for `tsconfig.json` where it is started.
  spawnSync(process.execPath, [bundler, source, bundle], { cwd: root, stdio: "ignore", timeout: bundleMsMax })
    .status === 0
