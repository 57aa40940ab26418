/** How the memory of a process with a model in it is laid out; Linux alone tells. */
import { describe, expect, test } from "bun:test"
import { existsSync, readFileSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import { hostEnvironment } from "@weft/engine/HostEnvironment"
import { models } from "./asking.ts"

const setting = "/sys/kernel/mm/transparent_hugepage/enabled"

/** Returns the memory of a process that has loaded the small model, as the kernel shows it. */
const held = async (environment: Readonly<Record<string, string>>): Promise<string> => {
  const command = [process.execPath, join(import.meta.dir, "fixtures", "memory.ts"), models.small]
  const child = Bun.spawn(command, { env: { ...process.env, ...environment }, stdout: "pipe" })
  const text = await new Response(child.stdout).text()
  expect(await child.exited).toBe(0)
  return text
}

const hugeBytes = (smaps: string): number =>
  [...smaps.matchAll(/^AnonHugePages: +(\d+) kB$/gm)].reduce((sum, [, size]) => sum + Number(size) * 1024, 0)

describe("the memory of a host", () => {
  test("holds the weights themselves, in huge pages where the system leaves that to programs", async () => {
    const smaps = await held(hostEnvironment)
    expect(smaps).not.toContain(basename(models.small))
    const allowed = existsSync(setting) && !readFileSync(setting, "utf8").includes("[never]")
    // Two pages of 2 MiB at the ends of the buffer are not whole.
    const expected = allowed ? statSync(models.small).size - 4 * 1024 * 1024 : 0
    expect(hugeBytes(smaps)).toBeGreaterThanOrEqual(expected)
    if (!allowed) expect(hugeBytes(smaps)).toBe(0)
  })
})
