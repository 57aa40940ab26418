/**
 * The chat page in the browser: takes over what the server drew. Owns the conversation, which is nowhere else, the one
 * question under way, the key of this tab, and the list of models, which it asks for again and again.
 */
import { hydrate } from "preact"
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import { copy } from "../../../page/internal/copy.ts"
import { switchTheme } from "../../../page/internal/switchTheme.ts"
import type { ChatDocument } from "../../ChatDocument.ts"
import * as ChatState from "../../ChatState.ts"
import { type ChatActions, ChatView } from "../ChatView.tsx"
import { askEntry } from "./askEntry.ts"
import { keepKey, keptKey } from "./key.ts"

/** Models come and go in minutes; the first one, and an entry that is back, are waited for. */
const refreshMs = { calm: 15_000, hasty: 1_000 }
/** Longer than any answer of the entry's own takes. */
const documentMsMax = 10_000
/** So close to the end the reader is taken along with the text. */
const endPixels = 48

/** Follows the models that are served; `isAnew` asks at once, as after a failure that the list may explain. */
const useDocument = (first: ChatDocument, isAnew: boolean) => {
  const [heard, change] = useState({ document: first, isLost: false })
  const isHasty = heard.isLost || heard.document.models.length === 0
  useEffect(() => {
    const leaving = new AbortController()
    let next: ReturnType<typeof setTimeout> | undefined
    const refresh = async (): Promise<void> => {
      clearTimeout(next)
      try {
        const response = await fetch("/api/chat", {
          signal: AbortSignal.any([leaving.signal, AbortSignal.timeout(documentMsMax)])
        })
        // the entry that served this page encodes it by the schema
        const document = (await response.json()) as ChatDocument
        if (response.ok) change({ document, isLost: false })
      } catch {
        if (!leaving.signal.aborted) change((before) => ({ ...before, isLost: true }))
      }
      plan()
    }
    const refreshSeen = (): void => (document.visibilityState === "visible" ? void refresh() : plan())
    const plan = (): void => {
      clearTimeout(next)
      if (!leaving.signal.aborted) next = setTimeout(refreshSeen, isHasty ? refreshMs.hasty : refreshMs.calm)
    }
    if (isAnew) void refresh()
    else plan()
    document.addEventListener("visibilitychange", refreshSeen)
    return () => {
      leaving.abort()
      clearTimeout(next)
      document.removeEventListener("visibilitychange", refreshSeen)
    }
  }, [isHasty, isAnew])
  return heard
}

/** Takes the reader along with the text while the end of the page is in sight. */
const useEndInSight = (shown: unknown, asked: number): void => {
  const isAtEnd = useRef(true)
  useEffect(() => {
    const look = (): void => {
      const { scrollHeight } = document.documentElement
      isAtEnd.current = innerHeight + scrollY >= scrollHeight - endPixels
    }
    addEventListener("scroll", look, { passive: true })
    return () => removeEventListener("scroll", look)
  }, [])
  // who asks wants to see the answer
  useLayoutEffect(() => {
    isAtEnd.current = true
  }, [asked])
  // whatever is shown anew may be longer
  useLayoutEffect(() => {
    if (asked > 1 && isAtEnd.current) scrollTo(0, document.documentElement.scrollHeight)
  }, [shown, asked])
}

/** Owns the conversation: events go in, and questions go out. */
const useConversation = (modelOf: (state: ChatState.ChatState) => string | null, choose: (model: string) => void) => {
  const [state, show] = useState(ChatState.empty)
  const [key, setKey] = useState("")
  const now = useRef({ state, key, modelOf })
  now.current.modelOf = modelOf
  useEffect(() => {
    now.current.key = keptKey()
    setKey(now.current.key)
  }, [])
  const act = useMemo((): ChatActions => {
    const { current } = now
    let drop = (): void => undefined
    const tell = (event: ChatState.ChatEvent): boolean => {
      const before = current.state
      current.state = ChatState.step(before, event)
      show(current.state)
      return current.state !== before
    }
    const ask = (event: (model: string) => ChatState.ChatEvent): void => {
      const model = current.modelOf(current.state)
      if (model === null || !tell(event(model))) return
      const open = ChatState.underWay(current.state)
      if (open === undefined) return
      const messages = ChatState.messagesOf(current.state)
      drop = askEntry({ number: open.number, model, messages, key: current.key }, tell)
    }
    // the button that was pressed is gone then, and with it the focus
    const focus = (): void => document.getElementById("question")?.focus()
    const askAgain = (): void => {
      ask((model) => ({ _tag: "AskedAgain", model, atMs: Date.now() }))
      focus()
    }
    return {
      ask: (question) => ask((model) => ({ _tag: "Asked", question, model, atMs: Date.now() })),
      askAgain,
      stop: () => {
        drop()
        tell({ _tag: "Stopped" })
      },
      clear: () => {
        drop()
        tell({ _tag: "Cleared" })
        focus()
      },
      giveKey: (given) => {
        current.key = given
        keepKey(given)
        setKey(given)
        if (given !== "") askAgain()
        focus()
      },
      choose,
      copy,
      switchTheme
    }
  }, [choose])
  return { state, hasKey: key !== "", act }
}

/** The time of each drawing, which comes every second while somebody waits. */
const useNow = (isWaiting: boolean): number => {
  const [, draw] = useState(0)
  useEffect(() => {
    if (!isWaiting) return
    const ticking = setInterval(() => draw((seconds) => seconds + 1), 1_000)
    return () => clearInterval(ticking)
  }, [isWaiting])
  return isWaiting ? Date.now() : 0
}

const Live = ({ first }: { readonly first: ChatDocument }) => {
  // Taking over changes no attribute: the first rendering is the server's, what only a browser can comes with the next.
  const [isOver, takeOver] = useState(false)
  useEffect(() => takeOver(true), [])
  const [picked, pick] = useState<string>()
  const known = useRef(first)
  const modelOf = ({ turns }: ChatState.ChatState): string | null =>
    picked ?? turns.at(-1)?.answer.model ?? known.current.default
  const { act, hasKey, state } = useConversation(modelOf, pick)
  const last = state.turns.at(-1)?.answer
  const { document, isLost } = useDocument(first, last?.phase === "failed")
  known.current = document
  const nowMs = useNow(last?.failure?.retryAtMs !== undefined)
  useEndInSight(state, state.nextNumber)
  return (
    <ChatView
      document={document}
      origin={location.origin}
      state={state}
      chosen={modelOf(state)}
      nowMs={nowMs}
      hasKey={hasKey}
      isLost={isLost}
      {...(isOver && { act })}
    />
  )
}

const data = document.getElementById("chat")?.textContent
const root = document.getElementById("app")
// what the server wrote into its own page
if (data != null && root !== null) hydrate(<Live first={JSON.parse(data) as ChatDocument} />, root)
