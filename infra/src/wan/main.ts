/** `bun run wan`: a worse link in front of a UDP port, until Ctrl-C; then what it did to the datagrams. */
import * as Program from "@weft/actors/Program"
import { Console, Data, Effect, Either } from "effect"
import * as Arguments from "./Arguments.ts"
import * as UdpProxy from "./UdpProxy.ts"

/** Represents a command line that says nothing that can be done. */
class WrongUsage extends Data.TaggedError("WrongUsage")<{ readonly message: string }> {}

const exitCodeOfUsage = 2

const describe = ({ delayMs, jitterMs, lossShare, rateBitsPerSecond, seed, to }: Arguments.Arguments, port: number) => {
  const rate = rateBitsPerSecond === Number.POSITIVE_INFINITY ? "no limit of rate" : `${rateBitsPerSecond / 1e6} Mbit/s`
  const link = `${delayMs} ± ${jitterMs} ms each way, ${lossShare * 100} % lost, ${rate}, seed ${seed}`
  return `port ${port} → ${to.hostname}:${to.port}: ${link}. Ctrl-C ends it.`
}

const run = (asked: Arguments.Arguments) =>
  Effect.gen(function* () {
    const { json, listen, to, ...link } = asked
    const proxy = yield* UdpProxy.make(asked)
    yield* Console.log(
      json ? JSON.stringify({ event: "ready", port: proxy.port, to, ...link }) : describe(asked, proxy.port)
    )
    yield* Effect.addFinalizer(() =>
      Effect.flatMap(proxy.counts, ({ down, up }) => {
        const line = (name: string, { forwarded, lost, overflowed }: UdpProxy.UdpProxyCounts["up"]) =>
          `${name.padEnd(5)} ${forwarded} forwarded, ${lost} lost, ${overflowed} dropped by the queue`
        return Console.log(
          json ? JSON.stringify({ event: "counts", up, down }) : `${line("up", up)}\n${line("down", down)}`
        )
      })
    )
    return yield* Effect.never
  })

const program = Either.match(Arguments.parse(process.argv.slice(2)), {
  onLeft: (message) => new WrongUsage({ message: `${message}\n\n${Arguments.usage}` }),
  onRight: (asked) => Effect.scoped(run(asked))
})

Program.run<WrongUsage | UdpProxy.ProxyFailed>(program, {
  name: "wan",
  exitCodeOf: (failure) => (failure instanceof WrongUsage ? exitCodeOfUsage : 1)
})
