/** The container files: what they copy is there, what they build runs in a plain folder, and none of it as root. */
import { describe, expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { Glob, YAML } from "bun"
import { Effect, Schema } from "effect"
import { it } from "../../support/effect.ts"
import { directory, modelPath, type Program, startIn } from "../../support/processes.ts"
import { build, copies, read, root, said, wordsOf } from "./containerfile.ts"
import { textOf } from "./queries.ts"

/** Packages are linked from Bun's cache, then two programs and a model start. */
const timeoutMs = 120_000

const kinds = ["entry", "peer"] as const

describe.each([...kinds])("%s.Containerfile", (kind) => {
  test("is built from one pinned base, and runs as nobody in particular with a health check", async () => {
    const { stages } = await read(`${kind}.Containerfile`)
    const { engines } = JSON.parse(await Bun.file(`${root}package.json`).text())
    const image = stages.at(-1) ?? []
    for (const stage of stages) expect(said(stage, "FROM")[0]).toStartWith(`docker.io/oven/bun:${engines.bun}-`)
    expect(said(image, "USER")).toEqual(["1000:1000"])
    expect(said(image, "HEALTHCHECK")).toHaveLength(1)
    expect(said(image, "VOLUME")).toEqual(["/var/lib/weft"])
    expect(said(image, "ENTRYPOINT")).toHaveLength(1)
    expect(said(image, "STOPSIGNAL")).toEqual(["SIGTERM"])
    expect(said(image, "ADD")).toEqual([])
    // What runs later must not be able to change what it is.
    expect(said(image, "COPY").filter((rest) => rest.includes("--chown"))).toEqual([])
  })

  test("copies what is there and what .dockerignore lets through, and every package of the workspace", async () => {
    const { stages } = await read(`${kind}.Containerfile`)
    const passed = (await Bun.file(`${root}.dockerignore`).text())
      .split("\n")
      .flatMap((line) => line.match(/^!(.+)/)?.[1] ?? [])
    const sources = stages.flatMap((stage) => copies(stage).flatMap(({ sources }) => sources))
    expect(sources.filter((source) => !existsSync(`${root}${source}`))).toEqual([])
    expect(
      sources.filter((source) => !passed.some((path) => source === path || source.startsWith(`${path}/`)))
    ).toEqual([])
    const workspaces = [...new Glob("{apps/*,packages/*,infra,tests}/package.json").scanSync({ cwd: root })]
    expect(workspaces.filter((path) => !sources.includes(path))).toEqual([])
  })
})

const Service = Schema.Struct({
  image: Schema.String,
  build: Schema.optional(Schema.Struct({ context: Schema.String, dockerfile: Schema.String })),
  user: Schema.optional(Schema.String),
  read_only: Schema.Literal(true),
  cap_drop: Schema.Tuple(Schema.Literal("ALL")),
  security_opt: Schema.Tuple(Schema.Literal("no-new-privileges:true")),
  restart: Schema.Literal("unless-stopped"),
  stop_grace_period: Schema.Literal("30s"),
  healthcheck: Schema.optional(Schema.Struct({ test: Schema.NonEmptyArray(Schema.String) })),
  volumes: Schema.Array(Schema.String)
})
const Compose = Schema.Struct({
  services: Schema.Record({ key: Schema.String, value: Service }),
  volumes: Schema.Record({ key: Schema.String, value: Schema.Unknown })
})

test("every service of compose.yaml is read only, without rights, watched, and mounts what is there", async () => {
  const { services, volumes } = Schema.decodeUnknownSync(Compose)(YAML.parse(await textOf("containers/compose.yaml")))
  expect(Object.keys(services)).toEqual(["entry", "peer", "prometheus", "grafana"])
  for (const [name, service] of Object.entries(services)) {
    if (service.build === undefined) {
      expect(service.image).toMatch(/^docker\.io\/[\w/]+:v?\d+\.\d+\.\d+$/)
      expect(service.user).toMatch(/^[1-9]\d*:[1-9]\d*$/)
      expect(service.healthcheck).toBeDefined()
    } else {
      expect(service.build).toEqual({ context: "../..", dockerfile: `infra/containers/${name}.Containerfile` })
    }
    for (const [source = ""] of service.volumes.map((volume) => volume.split(":"))) {
      if (source.startsWith(".."))
        expect({ source, is: existsSync(`${root}infra/containers/${source}`) }).toEqual({ source, is: true })
      else if (!source.startsWith("$")) expect(Object.keys(volumes)).toContain(source)
    }
  }
})

/** The peer's port of status and metrics in the image; the one of a test must be free. */
const portOfPeer = "9464"

const freePort = Effect.sync(() => {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } })
  listener.stop(true)
  return String(listener.port)
})

const filesOf = (folder: string): ReadonlyArray<string> => [...new Glob("**").scanSync({ cwd: folder, dot: true })]

/** Builds an image in a folder of its own, starts what it starts, and returns it with its health check. */
const run = Effect.fnUntraced(function* (
  kind: (typeof kinds)[number],
  port: string,
  own: Readonly<Record<string, string>>,
  args: ReadonlyArray<string>
) {
  const folder = yield* directory
  const file = yield* Effect.promise(() => read(`${kind}.Containerfile`))
  yield* Effect.sync(() => build(file, folder))
  const image = file.stages.at(-1) ?? []
  const [program, ...words] = wordsOf(said(image, "ENTRYPOINT")[0] ?? "[]")
  expect(program).toBe("bun")
  const here = (word: string): string => word.replaceAll(portOfPeer, port)
  const environment = { WEFT_DATA_DIR: yield* directory, WEFT_HTTP_PORT: port, ...own }
  const check = wordsOf(said(image, "HEALTHCHECK")[0] ?? "[]")
    .slice(1)
    .map(here)
  const isHealthy = Effect.sync(() => {
    const { exitCode } = Bun.spawnSync([process.execPath, ...check], { cwd: folder, env: environment })
    return exitCode === 0
  })
  const started: Program = yield* startIn(folder, [...words.map(here), ...args, "--json"], environment)
  const before = filesOf(folder)
  const written = Effect.sync(() => filesOf(folder).filter((path) => !before.includes(path)))
  return { ...started, isHealthy, written }
})

it.live(
  "what the images are built of serves a model in a plain folder, writes nothing there, and is healthy",
  () =>
    Effect.gen(function* () {
      const entry = yield* run("entry", yield* freePort, { WEFT_MESH_PORT: "0" }, [])
      const url = String((yield* entry.event("listening"))["url"])
      expect(yield* entry.isHealthy).toBe(true)
      const peer = yield* run("peer", yield* freePort, { WEFT_ENTRY: url }, ["--model", modelPath("tiny-small-f16")])
      yield* peer.event("registered")
      expect(yield* peer.isHealthy).toBe(true)
      const body = JSON.stringify({
        model: "tiny-small-f16",
        messages: [{ role: "user", content: "What is 7 plus 5?" }]
      })
      const { status } = yield* Effect.promise(() => fetch(`${url}/v1/chat/completions`, { method: "POST", body }))
      expect(status).toBe(200)
      const pages = yield* Effect.promise(() =>
        Promise.all(["/status", "/api/status"].map((path) => fetch(url + path)))
      )
      expect(pages.map(({ status }) => status)).toEqual([200, 200])
      // The images are read only.
      expect([...(yield* entry.written), ...(yield* peer.written)]).toEqual([])
      yield* Effect.orDie(entry.process.kill("SIGTERM"))
      yield* Effect.orDie(entry.process.exitCode)
      expect(yield* entry.isHealthy).toBe(false)
    }),
  timeoutMs
)
