/** The command line of `bun run wan`, decoded. Pure: words come in, a proxy's options or what is wrong comes out. */
import { parseArgs } from "node:util"
import { Either } from "effect"
import * as Impairment from "./Impairment.ts"
import type { LoopbackAddress, UdpProxyOptions } from "./UdpProxy.ts"

/** How the command is used. */
export const usage = `bun run wan --to [HOST:]PORT [OPTION…]   a worse link in front of a UDP port of this machine

  --to [HOST:]PORT      who receives
  --listen [HOST:]PORT  where clients send to (127.0.0.1, a free port)
  --delay MS            one way (0)
  --jitter MS           most that the delay differs, both ways; order is kept (0)
  --loss PERCENT        of the datagrams of each direction (0)
  --rate RATE           e.g. 500kbit, 20mbit, 1gbit (no limit)
  --queue KIB           waits for the link; what does not fit is dropped (256)
  --seed NUMBER         the same seed loses the same datagrams (1)
  --json                one JSON object a line: ready, and what was counted in the end`

/** Represents a command line. */
export interface Arguments extends UdpProxyOptions {
  readonly json: boolean
}

/** Returns what the words ask for, or a sentence that says what is wrong with them. */
export const parse = (words: ReadonlyArray<string>): Either.Either<Arguments, string> =>
  Either.flatMap(
    Either.try({
      try: () => parseArgs({ args: [...words], options: { ...strings, json: { type: "boolean" } } }).values,
      catch: (error) => (error instanceof Error ? error.message : String(error))
    }),
    (values) =>
      Either.gen(function* () {
        if (values.to === undefined) return yield* Either.left("--to says who receives, e.g. --to 8443")
        return {
          to: yield* address("to", values.to),
          listen: yield* address("listen", values.listen ?? "0"),
          delayMs: yield* number("delay", values.delay, Impairment.none.delayMs, waitMsMax),
          jitterMs: yield* number("jitter", values.jitter, Impairment.none.jitterMs, waitMsMax),
          lossShare: (yield* number("loss", values.loss, 0, 100)) / 100,
          rateBitsPerSecond: yield* rate(values.rate),
          queueBytes: (yield* number("queue", values.queue, Impairment.none.queueBytes / 1024, queueKibMax)) * 1024,
          seed: yield* number("seed", values.seed, Impairment.none.seed, 2 ** 32 - 1),
          json: values.json === true
        }
      })
  )

// internal

/** No way on Earth takes a second; more than a minute is a mistake of units. */
const waitMsMax = 60_000
/** The most that may be underway at all. */
const queueKibMax = Impairment.underwayBytesMax / 1024

const string = { type: "string" } as const
const strings = {
  to: string,
  listen: string,
  delay: string,
  jitter: string,
  loss: string,
  rate: string,
  queue: string,
  seed: string
}

const number = (
  name: string,
  text: string | undefined,
  byDefault: number,
  most: number
): Either.Either<number, string> => {
  const value = text === undefined ? byDefault : Number(text.trim() || Number.NaN)
  return value >= 0 && value <= most ? Either.right(value) : Either.left(`--${name} takes a number in 0 … ${most}`)
}

const address = (name: string, text: string): Either.Either<LoopbackAddress, string> => {
  const parts = /^(?:(127\.\d+\.\d+\.\d+|localhost|\[::1\]):)?(\d{1,5})$/.exec(text)
  const port = Number(parts?.[2])
  if (!(port <= 65_535)) return Either.left(`--${name} takes a port of this machine, e.g. 8443 or 127.0.0.1:8443`)
  const host = parts?.[1] ?? "127.0.0.1"
  const hostname = host === "localhost" ? "127.0.0.1" : host.replace(/[[\]]/g, "")
  return Either.right({ hostname, port })
}

const unitBits: Readonly<Record<string, number>> = { kbit: 1e3, mbit: 1e6, gbit: 1e9 }

const rate = (text: string | undefined): Either.Either<number, string> => {
  if (text === undefined) return Either.right(Impairment.none.rateBitsPerSecond)
  const parts = /^(\d+(?:\.\d+)?)(kbit|mbit|gbit)$/.exec(text.toLowerCase())
  const bits = Number(parts?.[1]) * (unitBits[parts?.[2] ?? ""] ?? 0)
  return bits > 0 ? Either.right(bits) : Either.left("--rate takes a number and kbit, mbit or gbit, e.g. 20mbit")
}
