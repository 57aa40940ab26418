/**
 * The state of a conversation: events in, next state out. Pure. At most one answer is under way, the last one; each has
 * a number of its own, and what comes for an answer that is over changes nothing.
 */
import type { AnswerEvent } from "./AnswerEvent.ts"
import { type ChatFailure, silent } from "./ChatFailure.ts"

/** Represents one question and its answer. */
export interface Turn {
  readonly question: string
  readonly answer: Answer
}

/** Represents an answer, from the moment it is asked for. */
export interface Answer {
  readonly number: number
  readonly model: string
  readonly phase: "asked" | "coming" | "whole" | "stopped" | "failed"
  readonly text: string
  /** The peer's id, or `fallback`; undefined until the entry said it. */
  readonly servedBy: string | undefined
  readonly route: string | undefined
  /** Milliseconds since 1970, as the browser counts them; the first and last are of text. */
  readonly askedAtMs: number
  readonly firstAtMs: number | undefined
  readonly lastAtMs: number | undefined
  /** Tokens of the answer; undefined until the entry counted them. */
  readonly tokens: number | undefined
  readonly finished: "stop" | "length" | undefined
  readonly failure: ChatFailure | undefined
}

/** Represents a conversation. */
export interface ChatState {
  readonly turns: ReadonlyArray<Turn>
  /** Of the next answer. */
  readonly nextNumber: number
}

/** What happens to a conversation. */
export type ChatEvent =
  | { readonly _tag: "Asked"; readonly question: string; readonly model: string; readonly atMs: number }
  /** The last question, whose answer was stopped or failed. */
  | { readonly _tag: "AskedAgain"; readonly model: string; readonly atMs: number }
  | { readonly _tag: "Stopped" }
  | { readonly _tag: "Cleared" }
  | (OfAnswer & { readonly _tag: "Begun"; readonly servedBy: string | undefined; readonly route: string | undefined })
  /** Events that came together. */
  | (OfAnswer & { readonly _tag: "Received"; readonly events: ReadonlyArray<AnswerEvent>; readonly atMs: number })
  | (OfAnswer & { readonly _tag: "Failed"; readonly failure: ChatFailure })
  /** Nothing comes any more. */
  | (OfAnswer & { readonly _tag: "Closed" })

interface OfAnswer {
  readonly number: number
}

/** Represents a message as the API takes it. */
export interface Message {
  readonly role: "user" | "assistant"
  readonly content: string
}

/** A conversation before its first question. */
export const empty: ChatState = { turns: [], nextNumber: 1 }

/** Returns the answer that is under way. */
export const underWay = ({ turns }: ChatState): Answer | undefined => {
  const answer = turns.at(-1)?.answer
  return answer !== undefined && isOpen(answer) ? answer : undefined
}

/** Returns whether the last question can be asked again. */
export const canAskAgain = ({ turns }: ChatState): boolean => {
  const phase = turns.at(-1)?.answer.phase
  return phase === "failed" || phase === "stopped"
}

/**
 * Returns what the model is asked: all turns and the last question. A turn whose answer has no text is left out, as
 * models expect question and answer in turns.
 */
export const messagesOf = ({ turns }: ChatState): ReadonlyArray<Message> =>
  turns.flatMap(({ answer, question }, index): ReadonlyArray<Message> => {
    const asked = { role: "user", content: question } as const
    if (index === turns.length - 1) return [asked]
    return answer.text === "" ? [] : [asked, { role: "assistant", content: answer.text }]
  })

/** Returns the next state; the same one where the event is about nothing. */
export const step = (state: ChatState, event: ChatEvent): ChatState => {
  switch (event._tag) {
    case "Asked":
      return underWay(state) === undefined && event.question.trim() !== ""
        ? ask(state, state.turns, event.question, event)
        : state
    case "AskedAgain": {
      const last = state.turns.at(-1)
      return last !== undefined && canAskAgain(state)
        ? ask(state, state.turns.slice(0, -1), last.question, event)
        : state
    }
    case "Cleared":
      return { ...state, turns: [] }
    case "Stopped":
      return change(state, underWay(state)?.number, (answer) => ({ ...answer, phase: "stopped" }))
    case "Begun":
      return change(state, event.number, (answer) => ({ ...answer, servedBy: event.servedBy, route: event.route }))
    case "Received":
      return change(state, event.number, (answer) => receive(answer, event.events, event.atMs))
    case "Failed":
      return change(state, event.number, (answer) => fail(answer, event.failure))
    case "Closed":
      return change(state, event.number, (answer) =>
        answer.finished === undefined ? fail(answer, silent("broken")) : { ...answer, phase: "whole" }
      )
  }
}

/** Returns tokens per second after the first text; undefined where the answer was too short to tell. */
export const tokensPerSecond = ({ firstAtMs, lastAtMs, tokens }: Answer): number | undefined => {
  if (tokens === undefined || tokens < 2 || firstAtMs === undefined || lastAtMs === undefined) return undefined
  const spanMs = lastAtMs - firstAtMs
  return spanMs < spanMsMin ? undefined : ((tokens - 1) * 1_000) / spanMs
}

// internal

/** A shorter span tells how the network packs tokens, not how fast they are made. */
const spanMsMin = 100

const isOpen = ({ phase }: Answer): boolean => phase === "asked" || phase === "coming"

const ask = (
  { nextNumber }: ChatState,
  before: ReadonlyArray<Turn>,
  question: string,
  { atMs, model }: { readonly atMs: number; readonly model: string }
): ChatState => {
  const answer: Answer = {
    number: nextNumber,
    model,
    phase: "asked",
    text: "",
    servedBy: undefined,
    route: undefined,
    askedAtMs: atMs,
    firstAtMs: undefined,
    lastAtMs: undefined,
    tokens: undefined,
    finished: undefined,
    failure: undefined
  }
  return { turns: [...before, { question, answer }], nextNumber: nextNumber + 1 }
}

/** Changes the answer of this number, where it is under way. */
const change = (state: ChatState, number: number | undefined, next: (answer: Answer) => Answer): ChatState => {
  const open = underWay(state)
  if (open === undefined || open.number !== number) return state
  return { ...state, turns: state.turns.map((turn) => (turn.answer === open ? { ...turn, answer: next(open) } : turn)) }
}

const fail = (answer: Answer, failure: ChatFailure): Answer => ({ ...answer, phase: "failed", failure })

const receive = (answer: Answer, events: ReadonlyArray<AnswerEvent>, atMs: number): Answer =>
  events.reduce((now, event) => (isOpen(now) ? receiveOne(now, event, atMs) : now), answer)

const receiveOne = (answer: Answer, event: AnswerEvent, atMs: number): Answer => {
  switch (event._tag) {
    case "Text":
      return {
        ...answer,
        phase: "coming",
        text: answer.text + event.text,
        firstAtMs: answer.firstAtMs ?? atMs,
        lastAtMs: atMs
      }
    case "Finished":
      return { ...answer, finished: event.reason }
    case "Counted":
      return { ...answer, tokens: event.tokens }
    case "Failed":
      return fail(answer, event.failure)
    case "Done":
      return { ...answer, phase: "whole" }
  }
}
