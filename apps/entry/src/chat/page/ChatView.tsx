/** The chat page's content: drawn by the server for the first paint, and by the browser from then on. No state. */
import { EmptyMesh } from "../../page/EmptyMesh.tsx"
import { count } from "../../page/Format.ts"
import { TopBar } from "../../page/TopBar.tsx"
import type { ChatDocument } from "../ChatDocument.ts"
import { type ChatState, underWay } from "../ChatState.ts"
import { Composer } from "./Composer.tsx"
import { ModelPicker, tierPromise } from "./ModelPicker.tsx"
import { TurnView } from "./TurnView.tsx"

/** Represents what the reader can do once the browser has taken over. */
export interface ChatActions {
  readonly ask: (question: string) => void
  readonly askAgain: () => void
  readonly stop: () => void
  readonly clear: () => void
  readonly choose: (model: string) => void
  /** Keeps the key for as long as the tab lives, and asks again with it; an empty one forgets it. */
  readonly giveKey: (key: string) => void
  readonly copy: (text: string) => void
  readonly switchTheme: () => void
}

/** Represents what the page shows. */
export interface ChatViewProps {
  readonly document: ChatDocument
  /** Where the entry is reached, without a path. */
  readonly origin: string
  readonly state: ChatState
  /** The model that is asked next; null where there is none. */
  readonly chosen: string | null
  /** Milliseconds since 1970; counts down to when asking again makes sense. */
  readonly nowMs?: number
  readonly hasKey?: boolean
  /** Whether the list of models could not be asked for. */
  readonly isLost?: boolean
  /** Absent where nothing can be done yet. */
  readonly act?: ChatActions
}

/** Shows the page. */
export const ChatView = (props: ChatViewProps) => {
  const { act, chosen, document, hasKey = false, isLost = false, nowMs = 0, state } = props
  const { turns } = state
  const open = underWay(state)
  const isEmpty = document.models.length === 0
  return (
    <div class="page chat-page">
      <TopBar at="chat" switchTheme={act?.switchTheme} />
      <p class="lost" role="status">
        {isLost && (
          <>
            <strong>The entry cannot be reached.</strong> What was said stays here; the page goes on when it is back.
          </>
        )}
      </p>
      <main class="chat">
        <div class="chat-head">
          <h1>Chat</h1>
          <ModelPicker document={document} chosen={chosen} choose={act?.choose} />
          <button
            type="button"
            class="plain"
            disabled={act === undefined || turns.length === 0}
            onClick={() => act?.clear()}
          >
            New chat
          </button>
        </div>
        {turns.length === 0 && !isEmpty && <Introduction document={document} chosen={chosen} />}
        <div class="turns" role="log" aria-label="Conversation" aria-live="polite" aria-busy={open !== undefined}>
          {turns.map((turn, index) => (
            <TurnView
              key={turn.answer.number}
              turn={turn}
              isLast={index === turns.length - 1}
              nowMs={nowMs}
              hasKey={hasKey}
              act={act}
            />
          ))}
        </div>
        {isEmpty && turns.length === 0 && <EmptyMesh origin={props.origin} {...(act && { copy: act.copy })} />}
        <noscript>
          <p class="nothing">
            Asking here needs JavaScript. Any OpenAI client asks without it, at <code>{props.origin}/v1</code>.
          </p>
        </noscript>
        <Composer
          isOpen={open !== undefined}
          {...(act !== undefined && chosen !== null && { ask: act.ask, stop: act.stop })}
        >
          Kept in this tab alone, and gone with it. Computers of volunteers answer, and their owners could read along.
          {hasKey && act !== undefined && (
            <>
              {" "}
              <button type="button" class="inline" onClick={() => act.giveKey("")}>
                Forget the key
              </button>
            </>
          )}
        </Composer>
      </main>
    </div>
  )
}

// internal

const Introduction = ({ chosen, document }: Pick<ChatViewProps, "chosen" | "document">) => {
  const model = document.models.find(({ id }) => id === chosen)
  return (
    <section class="introduction" aria-label="About this chat">
      <p class="lead">
        {document.models.length === 1 ? "One model is" : `${document.models.length} models are`} served by the mesh now.
        {model !== undefined && (
          <>
            {" "}
            <strong>
              <bdi>{model.id}</bdi>
            </strong>{" "}
            {tierPromise[model.tier]} A conversation can have{" "}
            <span class="figure">{count(model.contextTokens)} tokens</span>.
          </>
        )}
      </p>
    </section>
  )
}
