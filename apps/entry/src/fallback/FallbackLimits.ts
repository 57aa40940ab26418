/** The bounds of one answer of the provider. They have defaults that fit every deployment; tests shorten them. */
import { Context, Duration } from "effect"

/** Represents how long a provider may take and how much it may send. */
export interface FallbackLimitsShape {
  /** Longest time from the request to the first byte of the answer. */
  readonly firstByte: Duration.Duration
  /** Longest time without text, from the request on, whatever else is sent. */
  readonly idle: Duration.Duration
  /** A first text later than this counts as a failure of the provider. */
  readonly slow: Duration.Duration
  /** So does a client that gave up without text after this. */
  readonly patience: Duration.Duration
  /** Longest wait for the usage once the text is whole. */
  readonly usage: Duration.Duration
  /** Most UTF-16 units of one event. */
  readonly eventCharactersMax: number
  /** Most bytes of one answer. */
  readonly answerBytesMax: number
  /** Most answers of the provider at once. */
  readonly answersMax: number
}

/** Gives the bounds. */
export class FallbackLimits extends Context.Reference<FallbackLimits>()("@weft/entry/FallbackLimits", {
  defaultValue: (): FallbackLimitsShape => ({
    // a daily driver promises 3 s: who is not there after three times that is no help
    firstByte: Duration.seconds(10),
    // as long as the mesh's own streams may be quiet
    idle: Duration.seconds(30),
    // what the most patient tier promises
    slow: Duration.seconds(15),
    // a daily driver promises 3 s: who leaves before that is no witness against the provider, who waited longer is
    patience: Duration.seconds(5),
    // it comes together with the last text, where it comes at all
    usage: Duration.seconds(2),
    // events hold a token or a few; some providers repeat the prompt's safety report in each
    eventCharactersMax: 256 * 1024,
    // 250,000 tokens, the longest context, in events of 120 bytes
    answerBytesMax: 32 * 1024 * 1024,
    // each holds a connection; more clients than these the mesh serves, slowly
    answersMax: 256
  })
}) {}
