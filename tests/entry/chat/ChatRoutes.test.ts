/** The chat page over HTTP: public, drawn without a script, safe to frame nowhere, and small enough for a slow line. */
import { expect } from "bun:test"
import * as ApiKeys from "@weft/entry/ApiKeys"
import * as ChatDocument from "@weft/entry/chat/ChatDocument"
import * as Gate from "@weft/entry/sla/Gate"
import * as Tier from "@weft/entry/sla/Tier"
import { Effect, Either, Schema } from "effect"
import { it } from "../../support/effect.ts"
import { open, send } from "../support.ts"

/** Most bytes of script that the page may cost, compressed. */
const scriptBytesMax = 60 * 1024

const tiers = Either.getOrThrow(Tier.parseList("daily-driver=plain,capacity=org*"))
const apiKeys = Either.getOrThrow(ApiKeys.parseList("alice:a-long-secret-of-alice"))

it.live("the address alone leads to the chat", () =>
  Effect.gen(function* () {
    const { url } = yield* open()
    const { headers, status } = yield* send(url, { redirect: "manual" })
    expect([status, headers.get("location")]).toEqual([302, "/chat"])
  })
)

it.live(
  "the models and the one a chat begins with are told to anybody, the latter as /api/models/default tells it",
  () =>
    Effect.gen(function* () {
      const { url } = yield* open({ config: { apiKeys, tiers } })
      const { headers, json } = yield* send(`${url}/api/chat`)
      expect(headers.get("cache-control")).toBe("no-store")
      expect(Schema.decodeUnknownSync(ChatDocument.ChatDocument)(json)).toEqual({
        models: [
          { id: "plain", tier: "daily-driver", status: "no-measurements", contextTokens: 512 },
          { id: "org/tiny:Q4_K_M", tier: "capacity", status: "no-measurements", contextTokens: 512 }
        ],
        default: "plain"
      })
      const authorization = "Bearer a-long-secret-of-alice"
      const one = yield* send(`${url}/api/models/default`, { headers: { authorization } })
      expect(one.json.id).toBe(json.default)
    })
)

it.live("the page has its models without a script, the default chosen, and lets nothing in from elsewhere", () =>
  Effect.gen(function* () {
    const { url } = yield* open({ config: { apiKeys, tiers } })
    const { headers, text } = yield* send(`${url}/chat`, { headers: { cookie: "weft-theme=dark" } })
    const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    expect(headers.get("content-security-policy")).toBe(policy)
    expect(text).toContain('<html lang="en" data-theme="dark">')
    const content = text.slice(0, text.indexOf('<script id="chat"'))
    expect(content).toContain('<option value="plain" selected>plain – daily driver</option>')
    for (const shown of ["org/tiny:Q4_K_M – capacity", "2 models are served", `${url}/v1`]) {
      expect(content).toContain(shown)
    }
    expect(text).not.toMatch(
      / style=|<style|<script(?! (id="chat" type="application\/json"|type="module" src="\/assets))/
    )
  })
)

it.live("the script is small, and the stylesheet that of the status page", () =>
  Effect.gen(function* () {
    const { url } = yield* open()
    const stylesheet = /href="(\/assets\/weft-\w+\.css)"/
    const { text } = yield* send(`${url}/chat`)
    const status = yield* send(`${url}/status`)
    expect(stylesheet.exec(text)?.[1]).toBe(stylesheet.exec(status.text)?.[1] ?? "none")
    const waiting = [/src="(\/assets\/chat-\w+\.js)"/.exec(text)?.[1] ?? ""]
    const seen = new Set<string>()
    let bytes = 0
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      if (seen.has(path)) continue
      seen.add(path)
      const script = yield* send(`${url}${path}`)
      expect(script.status).toBe(200)
      bytes += Bun.gzipSync(script.text).byteLength
      waiting.push(...[...script.text.matchAll(/"\.\/([\w.-]+\.js)"/g)].map(([, name]) => `/assets/${name}`))
    }
    expect(seen.size).toBeGreaterThan(1)
    expect(bytes).toBeLessThan(scriptBytesMax)
  })
)

it.effect("models are told by tier, then by name, and a name that is none of ours stays what it is", () =>
  Effect.sync(() => {
    const models = ["b", "</script>", "a"].map((id) => ({ id, contextTokens: 1 }))
    const tierOf = (id: string): Tier.TierName => (id === "b" ? "daily-driver" : "experimental")
    const document = ChatDocument.of(models, (id) => Gate.verdict(tierOf(id), [undefined]))
    expect(document.models.map(({ id }) => id)).toEqual(["b", "</script>", "a"])
    expect(document.default).toBe("b")
    expect(ChatDocument.of([], (id) => Gate.verdict(tierOf(id), []))).toEqual({ models: [], default: null })
  })
)
