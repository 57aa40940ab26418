/** Reading server-sent events: the same whatever the network cuts, as the standard has it, and within its bounds. */
import { expect, test } from "bun:test"
import { ServerSentEvents } from "@weft/entry/chat/ServerSentEvents"
import { FastCheck } from "effect"

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Reads bytes cut at these places. */
const readCut = (bytes: Uint8Array, cuts: ReadonlyArray<number>): ReadonlyArray<string> => {
  const sent = new ServerSentEvents()
  const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.byteLength]
  return places.slice(1).flatMap((to, index) => {
    const events = sent.read(bytes.subarray(places[index] ?? 0, to))
    if (events === "too-long") throw new Error("it is short")
    return events
  })
}

const text = FastCheck.string({ unit: "grapheme", maxLength: 30 }).map((one) => one.replaceAll(/[\r\n]/g, " "))
const ending = FastCheck.constantFrom("\n", "\r\n", "\r")

/** A stream as it is written, with comments and other fields between, and the data of its events. */
const streams = FastCheck.array(
  FastCheck.record({
    lines: FastCheck.array(text, { minLength: 1, maxLength: 3 }),
    space: FastCheck.boolean(),
    comment: FastCheck.option(text),
    ending
  })
).map((events) => ({
  data: events.map(({ lines, space }) => lines.map((line) => (space ? line : line.replace(/^ /, ""))).join("\n")),
  written: events
    .map(({ comment, ending: end, lines, space }) =>
      [
        ...(comment === null ? [] : [`: ${comment}`, "event: x"]),
        ...lines.map((line) => `data:${space ? " " : ""}${line}`),
        "",
        ""
      ].join(end)
    )
    .join("")
}))

test("cut at any bytes, a stream gives the events that were written, none lost and none twice", () => {
  FastCheck.assert(
    FastCheck.property(streams, FastCheck.array(FastCheck.nat()), ({ data, written }, places) => {
      const bytes = encode(written)
      const cuts = places.map((place) => place % (bytes.byteLength + 1))
      expect(readCut(bytes, cuts)).toEqual(data)
    })
  )
})

test("cut behind every single byte, characters of several bytes and both parts of a line's end hold together", () => {
  const bytes = encode("\uFEFF: hello\r\n\r\ndata: ä🦊\r\ndata: b\r\n\r\ndata\n\nid: 7\ndata:c\r\rdata: never ended")
  const everywhere = Array.from({ length: bytes.byteLength }, (_, at) => at)
  expect(readCut(bytes, everywhere)).toEqual(["ä🦊\nb", "", "c"])
  expect(readCut(bytes, [])).toEqual(["ä🦊\nb", "", "c"])
})

test("a line, an event or a stream beyond its bound is given up, and stays so", () => {
  const bounds = { lengthMax: 8, bytesMax: 40 }
  const broken = (...pieces: ReadonlyArray<string>) => {
    const sent = new ServerSentEvents(bounds)
    return pieces.map((piece) => sent.read(encode(piece)))
  }
  expect(broken("data:abc\n\n")).toEqual([["abc"]])
  expect(broken("data:abcd\n\n", "data:a\n\n")).toEqual(["too-long", "too-long"])
  expect(broken(":1234", "56789", "\n")).toEqual([[], "too-long", "too-long"])
  expect(broken("data:abc\ndata:def\ndata:ghi\n\n")).toEqual(["too-long"])
  expect(broken("data:abc\n\n".repeat(4), "\n")).toEqual([["abc", "abc", "abc", "abc"], "too-long"])
})
