/**
 * One question to the entry from the browser: the request goes out, what comes back is told as events of the
 * conversation. Owns the connection until the answer's end, or until it is dropped. Bounded in bytes and in silence.
 */
import { ofData } from "../../AnswerEvent.ts"
import { ofResponse, silent } from "../../ChatFailure.ts"
import type { ChatEvent, Message } from "../../ChatState.ts"
import { ServerSentEvents } from "../../ServerSentEvents.ts"

/** Represents a question. */
export interface Question {
  /** Number of the answer. */
  readonly number: number
  readonly model: string
  readonly messages: ReadonlyArray<Message>
  /** Empty where there is none. */
  readonly key: string
}

/** Asks; returns what drops the answer, after which nothing is told. */
export const askEntry = (question: Question, tell: (event: ChatEvent) => void): (() => void) => {
  const leaving = new AbortController()
  const { number } = question
  let silence: ReturnType<typeof setTimeout> | undefined
  const heard = (): void => {
    clearTimeout(silence)
    silence = setTimeout(() => {
      tell({ _tag: "Failed", number, failure: silent("unreachable") })
      leaving.abort()
    }, silenceMsMax)
  }
  heard()
  void answer(question, leaving.signal, heard, (event) => leaving.signal.aborted || tell(event))
    .catch(() => leaving.signal.aborted || tell({ _tag: "Failed", number, failure: silent("unreachable") }))
    .finally(() => {
      clearTimeout(silence)
      leaving.abort()
    })
  return () => leaving.abort()
}

/** The entry says something every 5 s while an answer is awaited: after a dozen of them nobody is there. */
const silenceMsMax = 60_000

/** Most bytes of a refusal; the entry's hold a sentence. */
const refusalBytesMax = 64 * 1024

/** Longest id or route that is shown; a peer's id has 52 characters. */
const headerLengthMax = 128

/** What the headers of an answer say where nobody gave it. */
const nobody = "none"

const answer = async (
  { key, messages, model, number }: Question,
  signal: AbortSignal,
  heard: () => void,
  tell: (event: ChatEvent) => void
): Promise<void> => {
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...(key !== "" && { authorization: `Bearer ${key}` }) },
    body: JSON.stringify({ model, messages, stream: true, stream_options: { include_usage: true } }),
    signal
  })
  heard()
  const { headers, ok, status } = response
  const said = (name: string): string | undefined => {
    const value = headers.get(name)
    return value === null || value === nobody ? undefined : value.slice(0, headerLengthMax)
  }
  tell({ _tag: "Begun", number, servedBy: said("x-weft-served-by"), route: said("x-weft-route") })
  if (!ok) {
    const failure = ofResponse(status, headers.get("retry-after"), await readRefusal(response), Date.now())
    return tell({ _tag: "Failed", number, failure })
  }
  await readAnswer(response, number, heard, tell)
}

/** Reads the stream to its end; where it breaks, what came before stays. */
const readAnswer = async (
  { body }: Response,
  number: number,
  heard: () => void,
  tell: (event: ChatEvent) => void
): Promise<void> => {
  const reader = body?.getReader()
  const sent = new ServerSentEvents()
  for (;;) {
    const next = await reader?.read().catch(() => undefined)
    if (next?.value === undefined) return tell({ _tag: "Closed", number })
    heard()
    const events = sent.read(next.value)
    if (events === "too-long") return tell({ _tag: "Failed", number, failure: silent("broken") })
    if (events.length > 0) tell({ _tag: "Received", number, events: events.flatMap(ofData), atMs: Date.now() })
  }
}

const readRefusal = async ({ body }: Response): Promise<string> => {
  const reader = body?.getReader()
  const decoder = new TextDecoder()
  let text = ""
  for (let bytes = 0; bytes < refusalBytesMax; ) {
    const next = await reader?.read().catch(() => undefined)
    if (next?.value === undefined) break
    bytes += next.value.byteLength
    text += decoder.decode(next.value, { stream: true })
  }
  return text
}
