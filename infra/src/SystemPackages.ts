/**
 * Programs of the operating system that some tests run, and the Debian package of each. The test runner installs what
 * is missing where it may (root, with apt-get), and otherwise says what to install.
 */

/** Represents one program that tests of some folder need. */
export interface SystemPackage {
  /** As it is called, found on the path. */
  readonly command: string
  /** As Debian and Ubuntu name it. */
  readonly package: string
  /** Beginning of the paths of those tests. */
  readonly tests: string
}

/** Everything that is not installed by npm or Bun. */
export const systemPackages: ReadonlyArray<SystemPackage> = [
  { command: "promtool", package: "prometheus", tests: "tests/infra/operations/" },
  { command: "systemd-analyze", package: "systemd", tests: "tests/infra/operations/" },
  { command: "chromium", package: "chromium", tests: "tests/e2e/pages" }
]

/** Longest wait for one run of apt-get; a slow mirror sends a browser in a tenth of it. */
const installMinutesMax = 10

/** Returns the packages whose programs the `files` need and the path has not. */
export const missingFor = (
  files: ReadonlyArray<string>,
  which: (command: string) => string | null = Bun.which
): ReadonlyArray<string> =>
  systemPackages
    .filter(({ tests }) => files.some((file) => file.startsWith(tests)))
    .filter(({ command }) => which(command) === null)
    .map((missing) => missing.package)

/** Returns the sentence for those who must install `packages` themselves. */
export const advice = (packages: ReadonlyArray<string>): string =>
  `These tests run programs that are not installed. Install them, e.g. on Debian or Ubuntu with
  sudo apt-get install --no-install-recommends ${packages.join(" ")}
or leave their tests out by naming others: npm test -- mesh engine entry`

/** Installs what the `files` need; returns the advice where that is not possible, undefined where all is there. */
export const install = async (files: ReadonlyArray<string>): Promise<string | undefined> => {
  const missing = missingFor(files)
  if (missing.length === 0) return undefined
  if (process.getuid?.() !== 0 || Bun.which("apt-get") === null) return advice(missing)
  console.error(`Installing what tests run: ${missing.join(" ")}`)
  await apt("update")
  await apt("install", "--yes", "--no-install-recommends", ...missing)
  const still = missingFor(files)
  return still.length === 0 ? undefined : advice(still)
}

// internal

/** Its output goes to standard error: that of tests must stay the test's own. What failed shows in what is missing. */
const apt = (...args: ReadonlyArray<string>): Promise<number> =>
  Bun.spawn(["apt-get", "-qq", ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", 2, 2],
    timeout: installMinutesMax * 60_000
  }).exited
