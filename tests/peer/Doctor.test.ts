/** Every verdict of `peer doctor`, and the cure that goes with it. */
import { expect, test } from "bun:test"
import * as Doctor from "@weft/peer/Doctor"
import { Option } from "effect"

const gib = 2 ** 30

const model = (name: string, needBytes: number): Doctor.ModelFinding => ({
  name,
  path: `${name}.gguf`,
  sizeBytes: 1e6,
  needBytes,
  problem: Option.none()
})

const fit: Doctor.Findings = {
  bunVersion: "1.4.4",
  libc: "2.36",
  platform: "linux",
  cpus: 4,
  threads: 3,
  memoryUsableBytes: gib,
  dataDirectory: { path: "data", problem: Option.none() },
  models: [model("tiny", 1_100_000)],
  running: Option.none(),
  entry: Option.some({
    url: "http://entry",
    httpProblem: Option.none(),
    clockSkewMs: Option.some(0),
    quic: Option.some({ _tag: "Reached", address: "quic://entry:1", helloMs: 12 })
  })
}
const entry = Option.getOrThrow(fit.entry)

/** Returns the verdict on `name` where the machine differs from a fit one by `changes`. */
const verdict = (name: string, changes: Partial<Doctor.Findings>): Doctor.Check | undefined =>
  Doctor.examine({ ...fit, ...changes }).find((check) => check.name === name)
const withEntry = (changes: Partial<Doctor.EntryFinding>): Partial<Doctor.Findings> => ({
  entry: Option.some({ ...entry, ...changes })
})

test("a fit machine passes every check, and each check says what it found", () => {
  const checks = Doctor.examine(fit)
  expect(checks.length).toBe(10)
  for (const check of checks) expect(check).toEqual({ name: check.name, status: "PASS", detail: expect.any(String) })
  expect(Doctor.failed(checks)).toBe(false)
})

const verdicts: ReadonlyArray<
  readonly [
    name: string,
    status: Doctor.Check["status"],
    changes: Partial<Doctor.Findings>,
    detail: RegExp,
    fix?: RegExp
  ]
> = [
  ["bun", "FAIL", { bunVersion: "1.3.9" }, /1\.3\.9 is too old/, /bun@1\.4\.4/],
  ["bun", "FAIL", { bunVersion: "garbage" }, /too old/, /Install Bun/],
  ["bun", "PASS", { bunVersion: "1.10.0" }, /1\.10\.0/],
  ["bun", "PASS", { bunVersion: "2.0.0-canary.1" }, /2\.0\.0/],
  ["libc", "FAIL", { libc: "2.31" }, /2\.31 is too old/, /2\.34/],
  ["libc", "FAIL", { libc: "2.9" }, /2\.9 is too old/, /2\.34/],
  ["libc", "FAIL", { libc: "musl" }, /musl/, /Debian/],
  ["libc", "FAIL", { libc: "unknown" }, /unknown/, /glibc/],
  ["libc", "PASS", { libc: "unknown", platform: "darwin" }, /darwin/],
  ["memory", "FAIL", { memoryUsableBytes: 1_099_999 }, /may be used, the models need/, /smaller model/],
  ["memory", "PASS", { memoryUsableBytes: 1_100_000 }, /may be used, the models need/],
  ["memory", "PASS", { models: [model("a", gib), model("b", gib)] }, /1\.00 GiB may be used.* 2\.00 GiB together/],
  ["memory", "PASS", { memoryUsableBytes: 0, models: [] }, /0\.00 GiB may be used/],
  ["role", "PASS", {}, /^tiny: worker from the start/],
  ["role", "WARN", { models: [model("large", 2 * gib), model("a", gib)] }, /^large: too large .*lent/, /splits/],
  ["threads", "WARN", { threads: 4 }, /4 of 4/, /--threads 3/],
  ["threads", "WARN", { threads: 9 }, /9 of 4/, /--threads 3/],
  ["threads", "PASS", { threads: 1, cpus: 1 }, /1 of 1/],
  ["threads", "WARN", { threads: 2, cpus: 1 }, /2 of 1/, /--threads 1/],
  [
    "data directory",
    "FAIL",
    { dataDirectory: { path: "x", problem: Option.some("is full") } },
    /is full/,
    /--data-dir/
  ],
  [
    "model",
    "FAIL",
    { models: [{ ...model("x", 0), problem: Option.some("is truncated") }] },
    /is truncated/,
    /SHA-256/
  ],
  ["entry by HTTP", "FAIL", withEntry({ httpProblem: Option.some("nobody") }), /nobody/, /--entry/],
  [
    "entry by QUIC",
    "FAIL",
    withEntry({ quic: Option.some({ _tag: "Unreached", problem: "timed out" }) }),
    /timed out/,
    /firewall/
  ],
  ["clock", "PASS", withEntry({ clockSkewMs: Option.some(-10_000) }), /^10 s behind$/],
  ["clock", "FAIL", withEntry({ clockSkewMs: Option.some(-12_400) }), /^12 s behind$/, /set-ntp/],
  ["clock", "FAIL", withEntry({ clockSkewMs: Option.some(10_001) }), /^10 s ahead$/, /set-ntp/]
]
for (const [name, status, changes, detail, fix] of verdicts) {
  test(`${name} is a ${status} where it is ${detail.source}`, () => {
    const check = verdict(name, changes)
    expect(check?.status).toBe(status)
    expect(check?.detail).toMatch(detail)
    if (fix === undefined) expect(check?.fix).toBeUndefined()
    else expect(check?.fix).toMatch(fix)
    expect(Doctor.failed(Doctor.examine({ ...fit, ...changes }))).toBe(status === "FAIL")
  })
}

test("what was not asked for is not judged", () => {
  const names = Doctor.examine({ ...fit, models: [], entry: Option.none() }).map(({ name }) => name)
  expect(names).toEqual(["bun", "libc", "memory", "threads", "data directory"])
})

test("an entry that offers no QUIC address fails, as no peer could reach it", () => {
  const check = verdict("entry by QUIC", withEntry({ quic: Option.none() }))
  expect(check?.status).toBe("FAIL")
  const unasked = verdict("entry by QUIC", withEntry({ httpProblem: Option.some("nobody"), quic: Option.none() }))
  expect(unasked).toBeUndefined()
})

const rolesOf = (changes: Partial<Doctor.Findings>) =>
  Doctor.examine({ ...fit, ...changes }).flatMap(({ detail, name, status }) =>
    name === "role" ? [[status, detail]] : []
  )

test("before the start a model without room beside the others is foreseen as a standby, and that is healthy", () => {
  const models = [model("a", gib), model("b", gib / 2), { ...model("bad", 1), problem: Option.some("is truncated") }]
  const findings = { models }
  expect(rolesOf(findings)).toEqual([
    ["PASS", "a: worker from the start, as there is room for it"],
    ["PASS", "b: standby from the start, which is healthy: no room beside a; it is loaded when the mesh needs it more"]
  ])
  expect(verdict("memory", findings)?.status).toBe("PASS")
  expect(rolesOf({ models: [model("a", 2 * gib)] })).toEqual([])
})

test("of a running peer every role is told with its reason: a standby is healthy, none is a failure", () => {
  const known = (model: string, role: "worker" | "standby" | "dropped", isLoaded: boolean) => ({
    model,
    role,
    isLoaded,
    needBytes: 1,
    why: `why ${model}`
  })
  const running = Option.some([
    known("a", "worker", true),
    known("b", "worker", false),
    known("c", "standby", false),
    known("d", "dropped", false)
  ])
  expect(rolesOf({ running })).toEqual([
    ["PASS", "a: worker: why a"],
    ["PASS", "b: worker, not loaded yet: why b"],
    ["PASS", "c: standby, which is healthy: why c"],
    ["WARN", "d: neither worker nor standby: why d"]
  ])
  expect(Doctor.failed(Doctor.examine({ ...fit, running }))).toBe(false)
})
