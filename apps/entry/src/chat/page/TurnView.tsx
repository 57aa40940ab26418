/** One question and its answer: what came so far, who gave it how fast, and what went wrong. */
import { useMemo } from "preact/hooks"
import { Figure } from "../../page/Figure.tsx"
import { count, duration, shortId, threeDigits } from "../../page/Format.ts"
import { type Answer, type Turn, tokensPerSecond } from "../ChatState.ts"
import { type Block, blocksOf } from "../Fences.ts"
import type { ChatActions } from "./ChatView.tsx"
import { FailureView } from "./FailureView.tsx"

/** Represents what is shown. */
export interface TurnViewProps {
  readonly turn: Turn
  readonly isLast: boolean
  readonly nowMs: number
  readonly hasKey: boolean
  readonly act: ChatActions | undefined
}

/** Shows the turn. */
export const TurnView = ({ act, hasKey, isLast, nowMs, turn: { answer, question } }: TurnViewProps) => (
  <article class="turn" data-phase={answer.phase}>
    <div class="question">
      <h2 class="who">You</h2>
      <p class="words">{question}</p>
    </div>
    <div class="answer">
      <h2 class="who">
        <bdi>{answer.model}</bdi>
      </h2>
      <AnswerText text={answer.text} />
      {answer.phase === "asked" && <p class="waiting">Waiting for the first words</p>}
      {answer.phase === "stopped" && <p class="soft">Stopped.</p>}
      {answer.finished === "length" && <p class="soft">The answer reached its longest length and ends here.</p>}
      {answer.failure !== undefined && (
        <FailureView failure={answer.failure} hasText={answer.text !== ""} {...{ act, hasKey, isLast, nowMs }} />
      )}
      {answer.phase === "stopped" && isLast && (
        <button type="button" class="plain" onClick={() => act?.askAgain()}>
          Ask again
        </button>
      )}
      <Served answer={answer} />
    </div>
  </article>
)

// internal

/** The blocks are found again only when the text has changed. */
const AnswerText = ({ text }: { readonly text: string }) => {
  const blocks = useMemo(() => blocksOf(text), [text])
  return (
    <>
      {blocks.map((block, index) => (
        // blocks only ever grow at the end
        <BlockView key={index} block={block} />
      ))}
    </>
  )
}

/** Code can be wider than the page, so the keyboard must reach what scrolls. */
const BlockView = ({ block: { kind, language, text } }: { readonly block: Block }) =>
  kind === "prose" ? (
    <p class="words">{text.trim()}</p>
  ) : (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reached by the keyboard
    <section class="code" tabIndex={0} aria-label={language === "" ? "Code" : `Code, ${language}`}>
      <pre>
        <code>{text}</code>
      </pre>
    </section>
  )

/** Names of the routes; what another entry calls its own stays as it is. */
const routes: Readonly<Record<string, string>> = {
  "mesh:solo": "one peer",
  "mesh:split": "split among peers",
  fallback: "outside of the mesh"
}

const Served = ({ answer }: { readonly answer: Answer }) => {
  const { askedAtMs, firstAtMs, route, servedBy, tokens } = answer
  const rate = tokensPerSecond(answer)
  if (servedBy === undefined && firstAtMs === undefined) return null
  return (
    <p class="served">
      {servedBy !== undefined && (
        <span>
          served by {servedBy === "fallback" ? "a provider" : <code title={servedBy}>{shortId(servedBy)}</code>}
        </span>
      )}
      {route !== undefined && <span title={route}>{routes[route] ?? route}</span>}
      {firstAtMs !== undefined && (
        <span>
          first text after <Figure {...duration(Math.max(0, firstAtMs - askedAtMs))} />
        </span>
      )}
      {tokens !== undefined && <Figure value={count(tokens)} unit={tokens === 1 ? "token" : "tokens"} />}
      {rate !== undefined && <Figure value={threeDigits(rate)} unit="tok/s" />}
    </p>
  )
}
