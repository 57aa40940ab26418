/**
 * `bun run bundle`: bundles every program of the checkout, for places where none can write when it starts: images and
 * services. Prints the bundles; exits with 1 where one cannot be made.
 */
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Glob } from "bun"
import { bundleOf, rootOf } from "./bundleOf.ts"

const root = rootOf(import.meta.dir) ?? process.cwd()
for (const program of new Glob("{apps,packages}/*/src/internal/{p,*P}rogram.ts").scanSync({ cwd: root })) {
  const path = bundleOf(pathToFileURL(join(root, program)))
  const isBundled = path.endsWith(".js")
  process.stdout.write(`${isBundled ? "bundled" : "not bundled"} ${path}\n`)
  if (!isBundled) process.exitCode = 1
}
