/** Which packages of the operating system a run of tests asks for. */
import { expect, test } from "bun:test"
import { advice, missingFor } from "@weft/infra/SystemPackages"

const nothing = () => null
const everything = (command: string) => `/usr/bin/${command}`

test("only what the files to run need is missed, and only where it is not there", () => {
  expect(missingFor(["tests/mesh/Link.test.ts"], nothing)).toEqual([])
  expect(missingFor(["tests/mesh/Link.test.ts", "tests/infra/operations/Rules.test.ts"], nothing)).toEqual([
    "prometheus",
    "systemd"
  ])
  expect(missingFor(["tests/infra/operations/Rules.test.ts"], everything)).toEqual([])
})

test("the advice is a command that installs what is missing", () => {
  expect(advice(["prometheus", "chromium"])).toContain("apt-get install --no-install-recommends prometheus chromium")
})
