/**
 * Runs a Bun command where there may be nothing but Node and npm, e.g. `node infra/with-bun.mjs run demo`. Finds or
 * installs the Bun that `engines.bun` in package.json names, installs the packages of bun.lock, then hands over:
 * signals go in, the exit code comes out. Plain JavaScript for Node ≥ 18 on Linux and macOS: nothing is installed yet.
 */
import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs"
import { constants } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const version = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).engines.bun
/** Where a Bun of our own is kept; git ignores it, and removing it is always safe. */
const home = join(root, ".weft", "bun")
/** Signals that ask for an end; Bun's programs leave in order on the first and at once on the second. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"]
/** npm and a terminal may pass one signal on several times, within a few milliseconds; a person is never this fast. */
const repeatMs = 300
/** How often we look whether npm still lives: killed hard, it tells nobody, and the child would keep its ports. */
const orphanCheckMs = 1000

const say = (line) => process.stderr.write(`weft: ${line}\n`)

const fail = (problem, ...remedies) => {
  say(problem)
  for (const remedy of remedies) say(`  ${remedy}`)
  process.exit(1)
}

const isWanted = (command) => {
  const answer = spawnSync(command, ["--version"], { encoding: "utf8" })
  return answer.status === 0 && answer.stdout.trim() === version
}

/** Returns the first binary below `home` that runs here: npm picks by system and processor, running it settles libc. */
const installedBun = () => {
  const packages = join(home, "node_modules", "@oven")
  if (!existsSync(packages)) return undefined
  return readdirSync(packages)
    .map((name) => join(packages, name, "bin", "bun"))
    .find((path) => existsSync(path) && isWanted(path))
}

const npm = (...parameters) => {
  const self = process.env.npm_execpath
  const options = { cwd: home, stdio: ["ignore", "inherit", "inherit"] }
  return self?.endsWith(".js")
    ? spawnSync(process.execPath, [self, ...parameters], options)
    : spawnSync("npm", parameters, options)
}

/**
 * Installs the npm package `bun` into `home`. Its postinstall script only moves the binary into another folder, and
 * newer versions of npm refuse to run it, so scripts stay off and the binary is used where it lies.
 */
const installBun = () => {
  say(`installing Bun ${version} into .weft/bun (once, about 35 MB)`)
  mkdirSync(home, { recursive: true })
  const flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--include=optional", "--no-audit", "--no-fund"]
  const done = npm("install", "--prefix", home, ...flags, `bun@${version}`)
  const bun = done.status === 0 ? installedBun() : undefined
  return (
    bun ??
    fail(
      `could not install Bun ${version}${done.status === 0 ? `: none of its builds runs on this machine` : ""}.`,
      "Check the network and `npm ping`, remove .weft/bun and run the same command again, or install",
      `Bun ${version} yourself (https://bun.com/docs/installation) so that \`bun --version\` prints it.`
    )
  )
}

const installPackages = (bun) => {
  const first = !existsSync(join(root, "node_modules"))
  if (first) say("installing the packages of bun.lock (once, about 1 GB on disk)")
  const done = spawnSync(bun, ["install", "--frozen-lockfile"], {
    cwd: root,
    stdio: ["ignore", first ? 2 : "pipe", first ? "inherit" : "pipe"],
    encoding: "utf8"
  })
  if (done.status === 0) return
  process.stderr.write(`${done.stdout ?? ""}${done.stderr ?? ""}`)
  fail(
    "could not install the packages of bun.lock.",
    "If you changed a package.json, run `bun install` and commit bun.lock;",
    "otherwise check the network, remove node_modules and run the same command again."
  )
}

const run = (bun, parameters) => {
  const path = `${dirname(bun)}${delimiter}${process.env.PATH ?? ""}`
  const env = bun === "bun" ? process.env : { ...process.env, PATH: path }
  const child = spawn(bun, parameters, { cwd: root, stdio: "inherit", env })
  const terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  const passedMs = new Map()
  for (const signal of signals) {
    process.on(signal, () => {
      if (signal === "SIGINT" && terminal) return // The terminal gave it to the child too.
      if (Date.now() - (passedMs.get(signal) ?? 0) < repeatMs) return
      passedMs.set(signal, Date.now())
      child.kill(signal)
    })
  }
  const parent = process.ppid
  setInterval(() => process.ppid !== parent && child.kill("SIGTERM"), orphanCheckMs).unref()
  child.on("error", (error) => fail(`could not start Bun: ${error.message}`, "Remove .weft/bun and try again."))
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}

if (process.argv.length < 3) fail("no command given.", "Use: node infra/with-bun.mjs run demo")
const bun = isWanted("bun") ? "bun" : (installedBun() ?? installBun())
installPackages(bun)
run(bun, process.argv.slice(2))
