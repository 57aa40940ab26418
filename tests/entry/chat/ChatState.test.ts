/** The state of a conversation under any events: nothing of an answer is lost, and nothing comes after its end. */
import { expect, test } from "bun:test"
import type { AnswerEvent } from "@weft/entry/chat/AnswerEvent"
import { silent } from "@weft/entry/chat/ChatFailure"
import {
  type ChatEvent,
  type ChatState,
  canAskAgain,
  empty,
  messagesOf,
  step,
  tokensPerSecond,
  underWay
} from "@weft/entry/chat/ChatState"
import { FastCheck } from "effect"

const fold = (events: ReadonlyArray<ChatEvent>, from: ChatState = empty): ChatState => events.reduce(step, from)

const asked = (question: string, atMs = 0): ChatEvent => ({ _tag: "Asked", question, model: "m", atMs })
const text = (said: string): AnswerEvent => ({ _tag: "Text", text: said })
const received = (number: number, atMs: number, ...events: ReadonlyArray<AnswerEvent>): ChatEvent => ({
  _tag: "Received",
  number,
  events,
  atMs
})
const whole: ReadonlyArray<AnswerEvent> = [{ _tag: "Finished", reason: "stop" }, { _tag: "Done" }]

const answerEvent = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.string({ minLength: 1, maxLength: 5 }).map(text) },
  FastCheck.constantFrom<AnswerEvent>(
    { _tag: "Finished", reason: "stop" },
    { _tag: "Counted", tokens: 3 },
    { _tag: "Done" },
    { _tag: "Failed", failure: silent("broken") }
  )
)
const number = FastCheck.integer({ min: 1, max: 4 })
const chatEvent: FastCheck.Arbitrary<ChatEvent> = FastCheck.oneof(
  FastCheck.constantFrom<ChatEvent>(
    asked("one"),
    asked(" "),
    { _tag: "AskedAgain", model: "n", atMs: 1 },
    { _tag: "Stopped" },
    { _tag: "Cleared" }
  ),
  number.map((one): ChatEvent => ({ _tag: "Begun", number: one, servedBy: "peer", route: "mesh:solo" })),
  number.map((one): ChatEvent => ({ _tag: "Failed", number: one, failure: silent("unreachable") })),
  number.map((one): ChatEvent => ({ _tag: "Closed", number: one })),
  FastCheck.tuple(number, FastCheck.array(answerEvent, { maxLength: 4 })).map(([one, events]) =>
    received(one, 5, ...events)
  )
)

test("however an answer is cut into reads, its text is the text that was sent, up to its end", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.array(FastCheck.array(answerEvent)), (reads) => {
      const { turns } = fold([asked("q"), ...reads.map((events) => received(1, 1, ...events))])
      const all = reads.flat()
      const end = all.findIndex(({ _tag }) => _tag === "Done" || _tag === "Failed")
      const before = end === -1 ? all : all.slice(0, end)
      expect(turns[0]?.answer.text).toBe(before.map((event) => (event._tag === "Text" ? event.text : "")).join(""))
    })
  )
})

test("after any events only the last answer can be under way, numbers rise, and what is over changes no more", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.array(chatEvent), chatEvent, (events, next) => {
      const state = fold(events)
      const numbers = state.turns.map(({ answer }) => answer.number)
      expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b))
      expect(state.nextNumber).toBeGreaterThan(numbers.at(-1) ?? 0)
      const after = step(state, next)
      for (const turn of state.turns) {
        const isOpen = turn.answer === underWay(state)
        const isReplaced = next._tag === "Cleared" || (next._tag === "AskedAgain" && turn === state.turns.at(-1))
        if (!isOpen && !isReplaced) expect(after.turns).toContain(turn)
      }
      const roles = messagesOf(after).map(({ role }) => role)
      expect(roles.every((role, index) => role === (index % 2 === 0 ? "user" : "assistant"))).toBe(true)
      expect(roles.length % 2).toBe(after.turns.length === 0 ? 0 : 1)
    })
  )
})

test("a second question waits for the end of the first, and asking again asks the last one anew", () => {
  const first = fold([asked("one"), asked("two")])
  expect(first.turns.map(({ question }) => question)).toEqual(["one"])
  expect(canAskAgain(first)).toBe(false)
  const stopped = fold([received(1, 1, text("so")), { _tag: "Stopped" }, received(1, 2, text(" late"))], first)
  expect(stopped.turns[0]?.answer).toMatchObject({ phase: "stopped", text: "so" })
  const again = fold([{ _tag: "AskedAgain", model: "other", atMs: 9 }], stopped)
  expect(again.turns.map(({ answer, question }) => [question, answer.number, answer.model, answer.text])).toEqual([
    ["one", 2, "other", ""]
  ])
})

test("the model is told what was answered, also in part, and not what was not", () => {
  const state = fold([
    asked("one"),
    received(1, 1, text("1"), ...whole),
    asked("two"),
    { _tag: "Failed", number: 2, failure: silent("busy") },
    asked("three"),
    received(3, 1, text("3")),
    { _tag: "Closed", number: 3 },
    asked("four")
  ])
  expect(state.turns.map(({ answer }) => answer.phase)).toEqual(["whole", "failed", "failed", "asked"])
  expect(messagesOf(state).map(({ content }) => content)).toEqual(["one", "1", "three", "3", "four"])
})

test("the rate is of the tokens after the first text, and unknown where that is too short", () => {
  const of = (lastAtMs: number, tokens: number): number | undefined => {
    const { turns } = fold([
      asked("q", 1_000),
      received(1, 1_500, text("a")),
      received(1, lastAtMs, text("b"), { _tag: "Counted", tokens }, ...whole)
    ])
    return turns[0] === undefined ? undefined : tokensPerSecond(turns[0].answer)
  }
  expect(of(2_500, 21)).toBe(20)
  expect(of(1_550, 21)).toBeUndefined()
  expect(of(2_500, 1)).toBeUndefined()
})
