/** What a hostile stage makes of the frames it gives out: such lies as the others can see. */
import * as StageFrame from "@weft/engine/pipeline/StageFrame"
import { Either } from "effect"
import * as Arithmetic from "./arithmetic.ts"

/** Frames that are kept to be sent again. */
const keptMax = 20

/** Returns what goes out in place of each frame; `share` of them are tampered with. */
export const make = (unit: () => number, share: number) => {
  const kept: Array<Uint8Array> = []
  const pick = <A>(values: ReadonlyArray<A>): A | undefined => values[Math.floor(unit() * values.length)]
  return (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
    const frame = Either.getOrThrow(StageFrame.decode(bytes))
    // A window that comes again in another place is a lie that none but an audit can see.
    if (frame.kind !== "window") kept.push(bytes)
    if (kept.length > keptMax) kept.shift()
    if (unit() >= share) return [bytes]
    const early = pick(kept) ?? bytes
    const { epoch, job } = frame
    const common = [
      [bytes, bytes],
      [],
      [early, bytes],
      [renewed(early, epoch), bytes],
      [StageFrame.encode({ kind: "failed", epoch, job, reason: "it was told to fail" })],
      [bytes.with(0, 9)]
    ]
    return pick([...common, ...liesOf(frame)]) ?? [bytes]
  }
}

// internal

/** Makes a frame of an epoch that is over look as one of now. */
const renewed = (bytes: Uint8Array, epoch: number): Uint8Array => {
  const copy = bytes.slice()
  new DataView(copy.buffer).setUint32(4, epoch, true)
  return copy
}

const liesOf = (frame: StageFrame.StageFrame): ReadonlyArray<ReadonlyArray<Uint8Array>> => {
  if (frame.kind === "tokens") return tokenLies(frame).map((one) => [StageFrame.encode(one)])
  if (frame.kind === "window") return windowLies(frame).map((one) => [StageFrame.encode(one)])
  return []
}

const tokenLies = (frame: StageFrame.Tokens): ReadonlyArray<StageFrame.Tokens> => {
  const { drawn, position, round, tokens, window } = frame
  return [
    { ...frame, tokens: Int32Array.of(...tokens, 3), drawn: Math.max(drawn, tokens.length + 1) },
    ...(drawn === 0 ? [] : [{ ...frame, tokens: new Int32Array(0), drawn: 0 }]),
    { ...frame, tokens: tokens.map(() => Arithmetic.vocabularyTokens) },
    { ...frame, position: position + 1 },
    { ...frame, round: round + 1 },
    { ...frame, window: window + 1 },
    { ...frame, drawn: drawn + 1 }
  ]
}

const windowLies = (frame: StageFrame.Window): ReadonlyArray<StageFrame.Window> => {
  const { drawn, hidden, position, round, tokens, window } = frame
  return [
    // The tail says these again, and who reads that cannot know whose they are.
    { ...frame, round: round + 1 },
    { ...frame, window: window + 1 },
    { ...frame, drawn: drawn > 0 ? 0 : 1 },
    { ...frame, position: position + 3 },
    { ...frame, tokens: tokens.map(() => Arithmetic.vocabularyTokens) },
    { ...frame, hidden: hidden?.map(() => Number.NaN) },
    { ...frame, hidden: new Float32Array(tokens.length * (Arithmetic.width + 1)) },
    { ...frame, hidden: undefined }
  ]
}
