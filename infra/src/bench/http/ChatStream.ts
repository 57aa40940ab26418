/**
 * One streamed chat completion as a client sees it: every piece of text with the time it arrived, and how the answer
 * ended. Times are milliseconds of `performance.now`.
 */
import type { HttpConnections, HttpEnd } from "./HttpConnections.ts"

/** Represents a piece of an answer's text. */
export interface Piece {
  readonly atMs: number
  readonly text: string
}

/** Represents an answer that is over. */
export interface ChatAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly startedMs: number
  readonly endedMs: number
  readonly pieces: ReadonlyArray<Piece>
  readonly finishReason: string | undefined
  /** Undefined where the stream did not say. */
  readonly usage: ChatUsage | undefined
  /** Code of the error that ended the stream or stood in its place. */
  readonly errorCode: string | undefined
  /** Ended with a finish reason and `[DONE]`. */
  readonly whole: boolean
}

/** Represents the tokens of an answer, as the server counts them. */
export interface ChatUsage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
}

/** Represents what is asked; the rest of the body goes as it is. */
export interface ChatQuestion {
  readonly model: string
  readonly messages: ReadonlyArray<{ readonly role: "system" | "user" | "assistant"; readonly content: string }>
  readonly maxTokens: number
  readonly more?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, string>>
  /** Called when the headers are there. */
  readonly onHead?: (head: Pick<HttpEnd, "headers" | "status">) => void
  /** Called with each piece of text in the moment of its arrival. */
  readonly onPiece?: (piece: Piece) => void
}

/** Represents a chat under way. */
export interface ChatExchange {
  readonly answer: Promise<ChatAnswer>
  readonly abort: () => void
}

/** Asks greedily, with a stream and the usage at its end. */
export const ask = (connections: HttpConnections, question: ChatQuestion): ChatExchange => {
  const body = JSON.stringify({
    model: question.model,
    messages: question.messages,
    max_tokens: question.maxTokens,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
    ...question.more
  })
  const pieces: Array<Piece> = []
  const seen: Seen = { finishReason: undefined, usage: undefined, errorCode: undefined, done: false }
  let rest = ""
  const decoder = new TextDecoder()
  const startedMs = performance.now()
  const onBody = (bytes: Buffer): void => {
    const atMs = performance.now()
    const events = (rest + decoder.decode(bytes, { stream: true })).split("\n\n")
    rest = events.pop() ?? ""
    for (const event of events) {
      const text = read(event, seen)
      if (text === "") continue
      const piece = { atMs, text }
      pieces.push(piece)
      question.onPiece?.(piece)
    }
  }
  const { abort, end } = connections.post({
    path: "/v1/chat/completions",
    headers: question.headers ?? {},
    body,
    onBody,
    ...(question.onHead === undefined ? {} : { onHead: question.onHead })
  })
  const answer = end.then(({ headers, status, whole }) => {
    // An error before the stream is one JSON object.
    if (status !== 200 && rest !== "") read(`data: ${rest}`, seen)
    const { done, errorCode, finishReason, usage } = seen
    const isWhole = whole && done && finishReason !== undefined && errorCode === undefined
    const endedMs = performance.now()
    return { status, headers, startedMs, endedMs, pieces, finishReason, usage, errorCode, whole: isWhole }
  })
  return { answer, abort }
}

/** Returns the text of an answer. */
export const textOf = ({ pieces }: Pick<ChatAnswer, "pieces">): string => pieces.map(({ text }) => text).join("")

/** Returns the time from the request to the first text, NaN where none came. */
export const firstTextMs = ({ pieces, startedMs }: ChatAnswer): number => (pieces[0]?.atMs ?? Number.NaN) - startedMs

/** Returns the longest time between two pieces of text, 0 where there are fewer than two. */
export const longestGapMs = ({ pieces }: ChatAnswer): number =>
  pieces.reduce((most, { atMs }, index) => Math.max(most, atMs - (pieces[index - 1]?.atMs ?? atMs)), 0)

/**
 * Returns tokens per second from the first text to the last, NaN where the answer has no two tokens. A first piece of
 * several tokens, told by its length, counts as that many: their time was before it.
 */
export const decodeRate = ({ pieces, usage }: Pick<ChatAnswer, "pieces" | "usage">): number => {
  const [first, last] = [pieces[0], pieces.at(-1)]
  if (first === undefined || last === undefined || usage === undefined || last.atMs <= first.atMs) return Number.NaN
  const charactersOfToken = textOf({ pieces }).length / usage.completionTokens
  const tokensOfFirst = Math.max(1, Math.round(first.text.length / charactersOfToken))
  return (usage.completionTokens - tokensOfFirst) / ((last.atMs - first.atMs) / 1000)
}

// internal

interface Seen {
  finishReason: string | undefined
  usage: ChatUsage | undefined
  errorCode: string | undefined
  done: boolean
}

interface Chunk {
  readonly error?: { readonly code?: string | null; readonly type?: string } | null
  readonly choices?: ReadonlyArray<{
    readonly delta?: { readonly content?: string }
    readonly finish_reason?: string | null
  }>
  readonly usage?: {
    readonly prompt_tokens: number
    readonly completion_tokens: number
    readonly prompt_tokens_details?: { readonly cached_tokens?: number }
  } | null
}

/** Notes what an event says in `seen`; returns its text. */
const read = (event: string, seen: Seen): string => {
  const data = /^data: (.*)$/s.exec(event)?.[1]
  if (data === undefined) return ""
  if (data === "[DONE]") {
    seen.done = true
    return ""
  }
  // The project's own server writes these; one that is no JSON is a fault to be seen, not survived.
  const chunk = JSON.parse(data) as Chunk
  if (chunk.error) seen.errorCode = chunk.error.code ?? chunk.error.type ?? "unknown"
  const choice = chunk.choices?.[0]
  seen.finishReason = choice?.finish_reason ?? seen.finishReason
  if (chunk.usage) {
    seen.usage = {
      promptTokens: chunk.usage.prompt_tokens,
      completionTokens: chunk.usage.completion_tokens,
      cachedTokens: chunk.usage.prompt_tokens_details?.cached_tokens ?? 0
    }
  }
  return choice?.delta?.content ?? ""
}
