/** What an operator scrapes: after one answer both programs show every series that dashboards are built on. */
import { expect } from "bun:test"
import { Effect, Schedule } from "effect"
import { endToken } from "../engine/asking.ts"
import { it } from "../support/effect.ts"
import { startEntry, startPeer } from "../support/processes.ts"

const scrape = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(`${url}/metrics`)
    expect(response.headers.get("content-type")).toStartWith("text/plain")
    return response.text()
  })

/** Series that must be there, with a value above nothing where `counted`. */
const entrySeries: ReadonlyArray<readonly [name: string, counted: boolean]> = [
  ['weft_requests_total{model="tiny-small-f16",code="200"}', true],
  ['weft_ttft_seconds_count{model="tiny-small-f16"}', true],
  ['weft_inter_token_latency_seconds_count{model="tiny-small-f16"}', true],
  ['weft_request_duration_seconds_count{model="tiny-small-f16"}', true],
  ['weft_tokens_total{model="tiny-small-f16",kind="prompt"}', true],
  ['weft_tokens_total{model="tiny-small-f16",kind="completion"}', true],
  ['weft_requests_in_flight{model="tiny-small-f16"}', false],
  ['weft_peers{state="ready"}', true],
  ['weft_peers{state="draining"}', false],
  ['weft_model_peers{model="tiny-small-f16"}', true],
  ['weft_model_slots{model="tiny-small-f16"}', true],
  ['weft_peer_registrations_total{result="accepted"}', true],
  ['weft_peer_departures_total{why="link"}', false],
  ['weft_quic_sessions{layer="quic",direction="accepted"}', true],
  ['weft_sessions_opened_total{layer="quic",direction="accepted"}', true],
  ['weft_sessions_closed_total{layer="quic",reason="lost"}', false],
  ['weft_session_bytes_sent_total{layer="quic"}', true],
  ['weft_session_bytes_received_total{layer="quic"}', true],
  ['weft_packets_received_total{layer="quic"}', true],
  ['weft_session_rtt_seconds_count{layer="quic"}', true],
  ['weft_packets_sent_total{layer="quic"}', true],
  ['weft_packets_lost_total{layer="quic"}', false],
  ['weft_actor_restarts_total{actor="PeerDirectory"}', false],
  ['weft_actor_mailbox_depth{actor="PeerDirectory"}', false],
  ['weft_route_failovers_total{kind="failover"}', false],
  ["process_cpu_seconds_total", true],
  ["process_resident_memory_bytes", true],
  ["process_start_time_seconds", true],
  ["process_open_fds", true],
  ['weft_sla_verdicts_total{tier="daily-driver",status="no-measurements"}', true],
  ['weft_sla_verdicts_total{tier="capacity",status="both-too-low"}', false],
  ['weft_fallback_total{result="fallback-disabled"}', true],
  ['weft_fallback_failures_total{reason="late"}', false],
  ['weft_served_total{model="tiny-small-f16",served_by="mesh"}', true],
  ['weft_mesh_share_ratio{window="24h"}', true],
  ['weft_mesh_share_ratio{window="7d"}', true],
  ["weft_elections_total", false],
  ["weft_election_moves_total", false],
  ['weft_election_refusals_total{reason="Memory"}', false],
  ['weft_election_roles{role="standby"}', false],
  ['weft_election_peers{lease="here"}', false],
  ["weft_build_info{", true]
]

const peerSeries: ReadonlyArray<readonly [name: string, counted: boolean]> = [
  ['weft_engine_tokens_total{model="tiny-small-f16",kind="completion"}', true],
  ['weft_engine_active_sequences{model="tiny-small-f16"}', false],
  ['weft_engine_queued_requests{model="tiny-small-f16"}', false],
  ['weft_engine_restarts_total{model="tiny-small-f16"}', false],
  ['weft_engine_slots{model="tiny-small-f16"}', true],
  ['weft_engine_ready{model="tiny-small-f16"}', true],
  ['weft_peer_answers_total{outcome="finished"}', true],
  ["weft_peer_active_answers", false],
  ["weft_peer_answer_duration_seconds_count", true],
  ['weft_peer_links_total{result="registered"}', true],
  ["weft_peer_registered", true],
  ['weft_quic_sessions{layer="quic",direction="dialled"}', true],
  ['weft_session_rtt_seconds_count{layer="quic"}', true],
  ["weft_build_info{", true]
]

/** The series of which `text` has no value, or none above nothing where one was counted. */
const missing = (text: string, series: ReadonlyArray<readonly [string, boolean]>): ReadonlyArray<string> =>
  series.flatMap(([name, counted]) => {
    const line = text.split("\n").find((line) => line.startsWith(name))
    return line === undefined || (counted && Number(line.split(" ").at(-1)) <= 0) ? [name] : []
  })

it.live("entry and peer show what they did, by names and labels that stay", () =>
  Effect.gen(function* () {
    const { url } = yield* startEntry()
    const peer = yield* startPeer(url)
    yield* Effect.promise(async () => {
      const messages = [{ role: "user", content: "What is 7 plus 5?" }]
      // long enough to come in several pieces, or there is no time between them to be measured
      const long = { logit_bias: { [endToken]: -100 }, max_tokens: 128 }
      const body = { model: "tiny-small-f16", messages, stream: true, ...long }
      const answer = await fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(body) })
      expect(await answer.text()).toContain("[DONE]")
    })
    const page = String((yield* peer.event("listening"))["url"])
    // Sessions are measured a few times a second, so those series come a little later.
    const complete = (at: string, series: typeof entrySeries) =>
      Effect.map(scrape(at), (text) => missing(text, series)).pipe(
        Effect.repeat({ until: (names) => names.length === 0, times: 400, schedule: Schedule.spaced("50 millis") })
      )
    yield* complete(url, entrySeries)
    yield* complete(page, peerSeries)
    expect(missing(yield* scrape(url), entrySeries)).toEqual([])
    expect(missing(yield* scrape(page), peerSeries)).toEqual([])
    for (const text of [yield* scrape(url), yield* scrape(page)]) {
      const names = [...text.matchAll(/^# TYPE (weft_\S+) (\S+)/gm)]
      for (const [, name, type] of names) {
        expect(`${name} ${String(name).endsWith("_total")}`).toBe(`${name} ${type === "counter"}`)
      }
      expect(text).not.toContain("7 plus 5")
    }
  })
)
