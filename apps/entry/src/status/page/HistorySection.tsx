/** The history of all models, over a day, a week or all that is kept; what is longer is asked for when it is chosen. */
import { useEffect, useState } from "preact/hooks"
import type { Zone } from "../../page/Format.ts"
import type { History } from "../StatusDocument.ts"
import { HistoryPlots } from "./HistoryPlots.tsx"

/** The ranges, and how they are called. */
const ranges = [
  { hours: 24, label: "24 hours" },
  { hours: 168, label: "7 days" },
  { hours: 840, label: "35 days" }
] as const

/** Shows the charts with their two choices. */
export const HistorySection = ({ day, zone }: { readonly day: History; readonly zone: Zone }) => {
  const [hours, setHours] = useState<number>(24)
  const [only, setOnly] = useState("")
  const [longer, setLonger] = useState<History>()
  useEffect(() => {
    if (hours === 24) return
    const leaving = new AbortController()
    fetch(`/api/status/history?hours=${hours}`, { signal: leaving.signal })
      .then((response) => (response.ok ? response.json() : Promise.reject(new Error(response.statusText))))
      // the entry that served this page encodes it by the schema
      .then((history) => setLonger(history as History))
      .catch(() => setLonger(undefined))
    return () => leaving.abort()
  }, [hours, day.fromMs])
  const history = hours === 24 ? day : longer?.hours === hours ? longer : undefined
  const models = history?.models.map(({ id }) => id) ?? []
  return (
    <section class="history" aria-labelledby="history">
      <div class="section-head">
        <h2 id="history">History</h2>
        <fieldset class="choice">
          <legend class="hidden">Time shown</legend>
          {ranges.map((range) => (
            <label key={range.hours}>
              <input type="radio" name="range" checked={hours === range.hours} onChange={() => setHours(range.hours)} />
              <span>{range.label}</span>
            </label>
          ))}
        </fieldset>
        <label class="select">
          <span class="hidden">Model shown</span>
          <select value={only} onChange={(event) => setOnly(event.currentTarget.value)}>
            <option value="">All models</option>
            {models.map((id) => (
              <option key={id} value={id}>
                {id}
              </option>
            ))}
          </select>
        </label>
      </div>
      <HistoryPlots history={history ?? { ...day, models: [] }} zone={zone} {...(only === "" ? {} : { only })} />
    </section>
  )
}
