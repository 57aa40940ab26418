/** Starts `victimProcess.ts` in a process of its own, so that it can be killed for real. */
import { Effect, type Scope } from "effect"
import type { Victim } from "./transportSubject.ts"

const start = (layer: string, address: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      Bun.spawn([process.execPath, `${import.meta.dir}/victimProcess.ts`, layer, address], {
        stdout: "pipe",
        stderr: "inherit"
      })
    ),
    (child) =>
      Effect.promise(() => {
        child.kill("SIGKILL")
        return child.exited
      })
  )

const firstLine = (output: ReadableStream<Uint8Array>) =>
  Effect.promise(() => output.getReader().read()).pipe(
    Effect.map(({ value }) => new TextDecoder().decode(value).trim())
  )

const victim = (
  layer: string,
  address: string
): Effect.Effect<Victim & { readonly address: string }, never, Scope.Scope> =>
  start(layer, address).pipe(
    Effect.flatMap((child) =>
      Effect.map(firstLine(child.stdout), (line) => ({
        address: line,
        kill: Effect.sync(() => child.kill("SIGKILL"))
      }))
    )
  )

/** Returns the victims of a layer that runs over real sockets. */
export const victims = (layer: "quic" | "webtransport") => ({
  listening: victim(layer, "listen"),
  dialling: (address: string) => victim(layer, address)
})
