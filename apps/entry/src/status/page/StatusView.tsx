/** The status page's content: drawn by the server for the first paint, and by the browser from then on. No state. */

import { EmptyMesh } from "../../page/EmptyMesh.tsx"
import { Figure, Moment, Unmeasured } from "../../page/Figure.tsx"
import { bytes, count, duration, type Measure, none, percent, shortId, span, type Zone } from "../../page/Format.ts"
import { TopBar } from "../../page/TopBar.tsx"
import type { StatusDocument } from "../StatusDocument.ts"
import { HistorySection } from "./HistorySection.tsx"
import { ModelHeadings, ModelRow } from "./ModelRow.tsx"

/** Represents how the page hears of changes. */
export type Link = "none" | "live" | "lost"

/** Represents what the page shows. */
export interface StatusViewProps {
  readonly document: StatusDocument
  /** Where the entry is reached, without a path. */
  readonly origin: string
  readonly zone: Zone
  readonly link: Link
  /** Age of what is shown. */
  readonly ageSeconds: number
  /** Absent where the button can do nothing yet. */
  readonly switchTheme?: () => void
  readonly copy?: (text: string) => void
}

/** Shows the page. */
export const StatusView = (props: StatusViewProps) => {
  const { ageSeconds, document, link, zone } = props
  const { entry, models, peers, share } = document
  return (
    <div class={link === "lost" ? "page is-lost" : "page"}>
      <TopBar at="status" switchTheme={props.switchTheme}>
        <LiveMark link={link} ageSeconds={ageSeconds} document={document} zone={zone} />
      </TopBar>
      <p class="lost" role="status">
        {link === "lost" && (
          <>
            <strong>The entry cannot be reached.</strong> These are the figures of{" "}
            <Moment ms={document.generatedAtMs} zone={zone} />; the page goes on as soon as it is back.
          </>
        )}
      </p>
      <main>
        <h1>{headline(document)}</h1>
        <p class="lead">{shareSentence(share.day)}</p>
        <dl class="cards">
          <Card name="Mesh share, 24 h" value={shareOf(share.day)} />
          <Card name="Mesh share, 7 d" value={shareOf(share.week)} />
          <Card name="Requests, 24 h" value={{ value: count(share.day.requests), unit: "" }} />
          <Card name="Peers ready" value={{ value: count(peers.ready), unit: `of ${count(peers.total)}` }} />
          <Card
            name="Round trip"
            value={document.links.rttMs === null ? undefined : duration(document.links.rttMs.p50)}
          />
          <Card name="Memory lent" value={peers.memoryBytes === 0 ? undefined : bytes(peers.memoryBytes)} />
        </dl>
        {peers.total === 0 && <EmptyMesh origin={props.origin} {...(props.copy && { copy: props.copy })} />}
        {(models.length > 0 || peers.total > 0) && <Models document={document} zone={zone} />}
        <HistorySection day={document.history} zone={zone} />
      </main>
      <footer>
        <span>
          Entry <code title={entry.id}>{shortId(entry.id)}</code>, version {entry.version}
        </span>
        <span>up {span((document.generatedAtMs - entry.startedAtMs) / 1000)}</span>
        <a href="/api/status">These figures as JSON</a>
      </footer>
    </div>
  )
}

// internal

const headline = ({ models, peers }: StatusDocument): string => {
  const served = models.filter(({ mode }) => mode !== null).length
  if (peers.total === 0) return "No peers yet"
  const who = peers.total === 1 ? "1 peer serves" : `${count(peers.total)} peers serve`
  return served === 0 ? `${who} no model yet` : `${who} ${served === 1 ? "1 model" : `${count(served)} models`}`
}

const shareSentence = ({ fallback, mesh, meshSharePct }: StatusDocument["share"]["day"]): string => {
  if (meshSharePct === null) return "No answers in the last 24 hours."
  if (fallback === 0 && mesh === 1) return "The one answer of the last 24 hours came from the mesh."
  if (fallback === 0) return `All ${count(mesh)} answers of the last 24 hours came from the mesh.`
  return `${count(mesh)} of ${count(mesh + fallback)} answers of the last 24 hours came from the mesh.`
}

const shareOf = ({ meshSharePct }: StatusDocument["share"]["day"]): Measure | undefined =>
  meshSharePct === null ? undefined : percent(meshSharePct / 100)

const Models = ({ document: { history, modelCount, models }, zone }: Pick<StatusViewProps, "document" | "zone">) => (
  <section aria-labelledby="models">
    <div class="section-head">
      <h2 id="models">Models</h2>
    </div>
    {models.length === 0 ? (
      <p class="nothing">The peers that are here serve no model yet. Those that load one appear when it is ready.</p>
    ) : (
      <div class="models">
        <ModelHeadings />
        {models.map((model) => (
          <ModelRow key={model.id} model={model} history={history} zone={zone} />
        ))}
      </div>
    )}
    {modelCount > models.length && <p class="soft">and {count(modelCount - models.length)} more</p>}
  </section>
)

const Card = ({ name, value }: { readonly name: string; readonly value: Measure | undefined }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value === undefined ? <Unmeasured>{none}</Unmeasured> : <Figure {...value} />}</dd>
  </div>
)

const LiveMark = ({
  ageSeconds,
  document,
  link,
  zone
}: Pick<StatusViewProps, "ageSeconds" | "document" | "link" | "zone">) => (
  <span class={`link ${link}`}>
    <span class="dot" aria-hidden="true" />
    {link === "none" ? (
      <>
        as of <Moment ms={document.generatedAtMs} zone={zone} />
      </>
    ) : (
      <>
        {link} <span class="age">{ageSeconds < 2 ? "now" : `${span(ageSeconds)} ago`}</span>
      </>
    )}
  </span>
)
