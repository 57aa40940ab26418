/** Real peers that hold more models than fit: who serves what, who takes over, and whom they obey. */
import { expect } from "bun:test"
import { PeerStatus } from "@weft/peer/PeerStatus"
import { type Duration, Effect, Schedule, Schema } from "effect"
import { it } from "../support/effect.ts"
import { directory, modelPath, run, startEntry, startPeer } from "../support/processes.ts"

const small = "tiny-small-f16"
const nano = "tiny-nano-f16"
/** Room for either model, and not for both. */
const room = ["--max-memory", "17MB", "--context", "512", "--slots", "2", "--threads", "1"]

interface Election {
  readonly peer: string
  readonly epoch: number
  readonly lease: null | { readonly until: string }
  readonly elsewhere: null | { readonly entry: string }
  readonly models: ReadonlyArray<{ readonly model: string; readonly role: string; readonly why: string }>
}

const json = <A>(url: string) => Effect.promise(async () => (await (await fetch(url)).json()) as A)
const elections = (url: string) =>
  Effect.map(json<{ readonly data: ReadonlyArray<Election> }>(`${url}/api/elections`), ({ data }) => data)
const served = (url: string) =>
  Effect.map(
    json<{ readonly data: ReadonlyArray<{ readonly id: string; readonly meta: { readonly peers: number } }> }>(
      `${url}/v1/models`
    ),
    ({ data }) => Object.fromEntries(data.map(({ id, meta }) => [id, meta.peers]))
  )
const ask = (url: string, model: string) =>
  Effect.promise(async () => {
    const body = { model, messages: [{ role: "user", content: "What is 7 plus 5?" }], max_tokens: 4 }
    const headers = { "content-type": "application/json" }
    return (await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) })).status
  })

/** Looks every 100 ms until `holds`, for at most `within`, and returns what it saw then. */
const until = <A, E>(
  look: Effect.Effect<A, E>,
  holds: (value: A) => boolean,
  within: Duration.DurationInput = "30 seconds"
) =>
  look.pipe(
    Effect.filterOrFail(holds, (value) => new Error(`still ${JSON.stringify(value)}`)),
    Effect.retry(Schedule.spaced("100 millis")),
    Effect.timeoutFail({ duration: within, onTimeout: () => new Error("did not happen in time") })
  )

const both = (url: string, first: string, second: string) =>
  startPeer(url, {
    model: modelPath(first as typeof small),
    args: ["--model", modelPath(second as typeof small), ...room]
  })
const statusOf = (dataDirectory: string) =>
  Effect.map(
    run(["run", "apps/peer/src/main.ts", "status", "--json"], { WEFT_DATA_DIR: dataDirectory }),
    ({ stdout }) => Schema.decodeUnknownSync(Schema.parseJson(PeerStatus))(stdout)
  )
const doctor = (...args: ReadonlyArray<string>) => run(["run", "apps/peer/src/main.ts", "doctor", ...args])
const rolesOf = ({ models }: Election) => Object.fromEntries(models.map(({ model, role }) => [model, role]))

it.live(
  "of two models that do not fit together the first is served and the other stands by, until it alone is wanted",
  () =>
    Effect.gen(function* () {
      const { peerId, url } = yield* startEntry()
      const peer = yield* both(url, small, nano)
      expect(yield* served(url)).toEqual({ [small]: 1 })
      const [elected] = yield* until(elections(url), ([one]) => one?.lease != null)
      expect(elected?.peer).toBe(peer.id)
      expect(elected && rolesOf(elected)).toEqual({ [small]: "worker", [nano]: "standby" })
      expect(elected?.models.every(({ why }) => why.length > 10)).toBe(true)
      const { election } = yield* statusOf(peer.dataDirectory)
      expect(election).toMatchObject({ lease: { entry: peerId, epoch: elected?.epoch } })
      expect(election?.models).toMatchObject([
        { model: small, role: "worker", isLoaded: true },
        { model: nano, role: "standby", isLoaded: false }
      ])
      const told = yield* run(["run", "apps/peer/src/main.ts", "status"], { WEFT_DATA_DIR: peer.dataDirectory })
      expect(told.stdout).toMatch(/tiny-nano-f16 +standby +no +no room beside/)
      const given = ["--model", modelPath(small), "--model", modelPath(nano), ...room]
      // what is foreseen before a start, and what is so while the peer runs
      const foreseen = yield* doctor("--data-dir", yield* directory, ...given)
      expect([foreseen.code, foreseen.stdout]).toEqual([0, expect.stringMatching(/nano-f16: standby.*healthy/)])
      const seen = yield* doctor("--data-dir", peer.dataDirectory, "--json")
      expect(JSON.parse(seen.stdout)).toMatchObject({ fit: true })
      const roles = (JSON.parse(seen.stdout) as { checks: ReadonlyArray<{ name: string; detail: string }> }).checks
      expect(roles.filter(({ name }) => name === "role").map(({ detail }) => detail)).toEqual([
        expect.stringMatching(/^tiny-small-f16: worker: serves it/),
        expect.stringMatching(/^tiny-nano-f16: standby, which is healthy: no room beside/)
      ])
      const metrics = yield* Effect.promise(async () => (await fetch(`${url}/metrics`)).text())
      expect(metrics).toContain('weft_election_roles{role="standby"} 1\n')
      expect(metrics).toContain('weft_election_peers{lease="here"} 1\n')
      expect(metrics).toMatch(/weft_elections_total [1-9]/)

      expect(yield* ask(url, nano)).toBe(404)
      yield* until(served(url), (models) => models[nano] === 1 && models[small] === undefined)
      expect(yield* ask(url, nano)).toBe(200)
      const after = yield* statusOf(peer.dataDirectory)
      expect(after.models.map(({ id }) => id)).toEqual([nano])
    }),
  60_000
)

it.live(
  "when the only worker of a model is killed, a standby loads it, and what it served goes on elsewhere",
  () =>
    Effect.gen(function* () {
      const { url } = yield* startEntry()
      const worker = yield* startPeer(url)
      yield* startPeer(url, { model: modelPath(nano) })
      const standby = yield* both(url, nano, small)
      yield* until(elections(url), ([one]) => one?.lease != null)
      expect(yield* served(url)).toEqual({ [small]: 1, [nano]: 2 })
      yield* worker.process.kill("SIGKILL")
      yield* until(served(url), (models) => models[small] === 1 && models[nano] === 1, "15 seconds")
      const [elected] = yield* elections(url)
      expect(elected?.peer).toBe(standby.id)
      expect(elected && rolesOf(elected)).toEqual({ [nano]: "standby", [small]: "worker" })
      expect(yield* ask(url, small)).toBe(200)
    }),
  60_000
)

it.live(
  "an entry that comes in another's place orders nothing until the lease of the first ends, then in a later epoch",
  () =>
    Effect.gen(function* () {
      const first = yield* startEntry()
      const peer = yield* both(first.url, small, nano)
      const [before] = yield* until(elections(first.url), ([one]) => one?.lease != null)
      const ports = { WEFT_HTTP_PORT: new URL(first.url).port, WEFT_MESH_PORT: new URL(first.mesh).port }
      yield* first.process.kill("SIGKILL")
      const second = yield* startEntry({ WEFT_DATA_DIR: yield* directory, ...ports })
      expect(second.peerId).not.toBe(first.peerId)
      const [refused] = yield* until(elections(second.url), ([one]) => one?.elsewhere != null)
      expect(refused).toMatchObject({ lease: null, elsewhere: { entry: first.peerId } })
      expect((yield* statusOf(peer.dataDirectory)).election?.lease).toMatchObject({ entry: first.peerId })
      expect(yield* ask(second.url, small)).toBe(200)
      const [after] = yield* until(elections(second.url), ([one]) => one?.lease != null)
      expect(after?.epoch).toBeGreaterThan(before?.epoch ?? Number.POSITIVE_INFINITY)
      expect((yield* statusOf(peer.dataDirectory)).election?.lease).toMatchObject({ entry: second.peerId })
    }),
  90_000
)
