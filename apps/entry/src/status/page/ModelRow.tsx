/** One model: a line of figures that opens its peers, its stages, what is known of its file, and its history. */

import { Figure, Missing, Moment, Unmeasured } from "../../page/Figure.tsx"
import { bytes, count, duration, none, threeDigits, type Zone } from "../../page/Format.ts"
import type { History, ModelStatus } from "../StatusDocument.ts"
import { ElectionTable } from "./ElectionTable.tsx"
import { Grade } from "./Grade.tsx"
import { HistoryPlots } from "./HistoryPlots.tsx"
import { PeerTable } from "./PeerTable.tsx"
import { Sparkline } from "./Sparkline.tsx"
import { StageChain } from "./StageChain.tsx"

/** Shows the headings of the rows; each figure also names itself for those who do not see them. */
export const ModelHeadings = () => (
  <div class="model-line headings" aria-hidden="true">
    {["Model", "Tier", "Mode", "Peers", "Through mesh", "Native", "Efficiency", "First text", "24 hours"].map(
      (heading) => (
        <span key={heading}>{heading}</span>
      )
    )}
  </div>
)

/** Represents what a row shows. */
export interface ModelRowProps {
  readonly model: ModelStatus
  /** Of the last 24 hours, with this model or without it. */
  readonly history: History
  readonly zone: Zone
}

/** Shows one model. */
export const ModelRow = ({ history, model, zone }: ModelRowProps) => {
  const own = history.models.find(({ id }) => id === model.id)
  const hours = own?.tokensPerSecond ?? Array.from({ length: history.hours }, () => null)
  return (
    <details class="model" data-model={model.id}>
      <summary class="model-line">
        <span class="name">
          <bdi>{model.id}</bdi>
        </span>
        <Cell label="Tier">{model.tier}</Cell>
        <Cell label="Mode">
          {model.mode === null ? (
            <span class="soft">{isKeptReady(model) ? "standby" : "not served"}</span>
          ) : (
            <span class="mode">
              <ModeMark mode={model.mode} /> {model.mode}
            </span>
          )}
        </Cell>
        <Cell label="Peers">
          <span class="figure">{count(model.peerCount)}</span>
        </Cell>
        <Cell label="Through mesh">
          {model.through?.tokensPerSecond == null ? (
            <Missing />
          ) : (
            <Figure value={threeDigits(model.through.tokensPerSecond.p50)} unit="tok/s" />
          )}
        </Cell>
        <Cell label="Native">
          {model.native === null ? (
            <Missing />
          ) : (
            <Figure value={threeDigits(model.native.tokensPerSecond)} unit="tok/s" />
          )}
        </Cell>
        <Cell label="Efficiency">
          <Grade {...model.efficiency} />
        </Cell>
        <Cell label="First text">
          {model.through === null ? <Missing /> : <Figure {...duration(model.through.ttftMs.p50)} />}
        </Cell>
        <Cell label="24 hours">
          <Sparkline values={hours} />
        </Cell>
      </summary>
      <ModelMore history={history} model={model} zone={zone} />
    </details>
  )
}

// internal

/** What a row shows when it is opened. */
const ModelMore = ({ history, model, zone }: ModelRowProps) => (
  <div class="model-more">
    {model.stages !== null && (
      <section>
        <h3>Stages</h3>
        <StageChain stages={model.stages} />
      </section>
    )}
    <section>
      <h3>Peers</h3>
      {model.peers.length === 0 ? (
        <p class="soft">
          No peer serves this model now{isKeptReady(model) && "; it is loaded when it is wanted enough"}.
        </p>
      ) : (
        <PeerTable peers={model.peers} peerCount={model.peerCount} />
      )}
    </section>
    {model.elected.length > 0 && (
      <section>
        <h3>Election</h3>
        <ElectionTable elected={model.elected} electedCount={model.electedCount} />
      </section>
    )}
    <ModelFacts model={model} zone={zone} />
    <section>
      <h3>Last 24 hours</h3>
      <HistoryPlots history={history} only={model.id} zone={zone} />
    </section>
  </div>
)

/** Nobody serves it, and somebody could within the time it takes to load. */
const isKeptReady = ({ elected, mode }: ModelStatus): boolean =>
  mode === null && elected.some(({ role }) => role === "standby")

const Cell = ({ children, label }: { readonly children: preact.ComponentChildren; readonly label: string }) => (
  <span class="cell">
    <span class="label">{label} </span>
    {children}
  </span>
)

/** One thread, or several that are joined. */
const ModeMark = ({ mode }: { readonly mode: "solo" | "split" }) => (
  <svg class="mode-mark" viewBox="0 0 20 8" aria-hidden="true">
    {mode === "solo" ? (
      <rect x="0.5" y="1" width="19" height="6" rx="3" />
    ) : (
      <>
        <rect x="0.5" y="1" width="5" height="6" rx="1.5" />
        <rect x="7.5" y="1" width="5" height="6" rx="1.5" />
        <rect x="14.5" y="1" width="5" height="6" rx="1.5" />
      </>
    )}
  </svg>
)

const ModelFacts = ({ model, zone }: { readonly model: ModelStatus; readonly zone: Zone }) => {
  const { firstServedAt, native, through } = model
  const facts = {
    File: (
      <>
        {model.architecture} {model.quantization}, <Figure {...bytes(model.sizeBytes)} />
      </>
    ),
    Context: <Figure value={count(model.contextTokens)} unit="tokens" />,
    Measured:
      through === null ? (
        <Unmeasured>no answer in the last hour</Unmeasured>
      ) : (
        <>
          <Figure value={count(through.samples)} unit={through.samples === 1 ? "answer" : "answers"} />
          <span class="soft">
            , the slow 5 % wait {measure(duration(through.ttftMs.p95))}
            {through.tokensPerSecond !== null && ` and get ${threeDigits(through.tokensPerSecond.p95)} tok/s`}
          </span>
        </>
      ),
    "Native first text": native === null ? <Missing /> : <Figure {...duration(native.ttftMs)} />,
    "Native runs": native === null ? <Missing /> : <Figure value={count(native.runs)} unit="of 3" />,
    Audit: <Unmeasured>unaudited</Unmeasured>,
    "First served": firstServedAt.meshMs === null ? none : <Moment ms={firstServedAt.meshMs} zone={zone} />,
    "First split": firstServedAt.splitMs === null ? none : <Moment ms={firstServedAt.splitMs} zone={zone} />
  }
  return (
    <dl class="facts">
      {Object.entries(facts).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

const measure = ({ unit, value }: { readonly value: string; readonly unit: string }): string => `${value} ${unit}`
