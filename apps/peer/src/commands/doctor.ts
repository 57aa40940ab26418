/** `peer doctor`: whether this machine can be a peer, and what to do where it can not. */
import { Command, Options } from "@effect/cli"
import { Data, Effect } from "effect"
import * as Doctor from "../Doctor.ts"
import * as DoctorProbes from "../DoctorProbes.ts"
import * as PeerConfig from "../PeerConfig.ts"
import * as Terminal from "../Terminal.ts"

/** Represents an examination with at least one FAIL; everything was printed already. */
export class Unfit extends Data.TaggedError("Unfit")<{ readonly failed: number }> {
  override get message(): string {
    return `${this.failed} of the checks above failed; each says what to do.`
  }
}

/** Prints one line per check with its cure; exits with 1 where one failed. */
export const doctor = Command.make(
  "doctor",
  {
    contextTokens: PeerConfig.contextTokens,
    dataDirectory: PeerConfig.dataDirectory,
    entry: Options.optional(PeerConfig.entry),
    json: PeerConfig.json,
    maxMemory: PeerConfig.maxMemory,
    models: Options.text("model").pipe(Options.repeated, Options.withDescription("a GGUF file to examine")),
    profile: PeerConfig.profile,
    slots: PeerConfig.slots,
    threads: PeerConfig.threads
  },
  Effect.fn("peer.doctor")(function* ({ json, ...subjects }) {
    const checks = Doctor.examine(yield* DoctorProbes.look(subjects))
    yield* Terminal.print(json, { checks, fit: !Doctor.failed(checks) }, describe)
    if (Doctor.failed(checks)) {
      return yield* new Unfit({ failed: checks.filter((check) => check.status === "FAIL").length })
    }
  })
).pipe(Command.withDescription("check that this machine can be a peer, and say what to do where it can not"))

// internal

const describe = ({ checks }: { readonly checks: ReadonlyArray<Doctor.Check> }): ReadonlyArray<string> => {
  const rows = Terminal.table(checks.map(({ detail, name, status }) => [status, name, Terminal.printable(detail)]))
  return checks.flatMap((check, i) => [
    rows[i] ?? "",
    ...(check.fix === undefined ? [] : [`      ${Terminal.printable(check.fix)}`])
  ])
}
