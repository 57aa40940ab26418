/**
 * The status page in the browser: takes over what the server drew, follows the feed, and keeps the last figures when
 * that is lost. Owns the one stream of events and the ticking age.
 */
import { hydrate } from "preact"
import { useEffect, useState } from "preact/hooks"
import { copy } from "../../../page/internal/copy.ts"
import { switchTheme } from "../../../page/internal/switchTheme.ts"
import type { StatusDocument } from "../../StatusDocument.ts"
import { type Link, StatusView } from "../StatusView.tsx"

/** Longer than two heartbeats: what is silent so long is lost, whatever the socket says. */
const silenceMsMax = 12_000
/** Wait until a feed that refused is asked again; until then the figures are fetched as often. */
const retryMs = 5_000

interface Heard {
  readonly document: StatusDocument
  readonly atMs: number
  readonly link: Link
}

const follow = (change: (step: (heard: Heard) => Heard) => void): (() => void) => {
  let source: EventSource
  let retry: ReturnType<typeof setTimeout> | undefined
  const heard = (news: Partial<StatusDocument>): void =>
    change(({ document }) => ({ document: { ...document, ...news }, atMs: Date.now(), link: "live" }))
  const lost = (): void => change((before) => ({ ...before, link: "lost" }))
  const open = (): void => {
    source = new EventSource("/api/status/stream")
    // both are encoded by the entry that served this page
    source.addEventListener("status", ({ data }) => heard(JSON.parse(data) as StatusDocument))
    source.addEventListener("unchanged", ({ data }) => heard({ generatedAtMs: Number(data) }))
    source.addEventListener("error", () => {
      lost()
      // It comes again by itself, unless the entry has refused it: then everybody who may watches already.
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(poll, retryMs)
    })
  }
  const poll = async (): Promise<void> => {
    try {
      // as above
      heard((await (await fetch("/api/status")).json()) as StatusDocument)
    } catch {
      lost()
    }
    open()
  }
  open()
  return () => {
    source.close()
    clearTimeout(retry)
  }
}

const Live = ({ first }: { readonly first: StatusDocument }) => {
  const [heard, change] = useState<Heard>({ document: first, atMs: Date.now(), link: "none" })
  const [nowMs, setNow] = useState(Date.now())
  // Taking over changes no attribute: the first rendering is the server's, what only a browser can comes with the next.
  const [isOver, takeOver] = useState(false)
  useEffect(() => takeOver(true), [])
  useEffect(() => follow(change), [])
  useEffect(() => {
    const ticking = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(ticking)
  }, [])
  const ageMs = Math.max(0, nowMs - heard.atMs)
  const link = heard.link === "live" && ageMs > silenceMsMax ? "lost" : heard.link
  return (
    <StatusView
      document={heard.document}
      origin={location.origin}
      zone={isOver ? "local" : "utc"}
      link={link}
      ageSeconds={Math.floor(ageMs / 1_000)}
      {...(isOver && { switchTheme, copy })}
    />
  )
}

const data = document.getElementById("status")?.textContent
const root = document.getElementById("app")
// what the server wrote into its own page
if (data != null && root !== null) hydrate(<Live first={JSON.parse(data) as StatusDocument} />, root)
