/**
 * The bounds of the HTTP door. They have defaults that fit every deployment; tests shorten the waits. One clock that
 * ticks twice in `keepAlive` keeps the waits of requests: they last at least as long, and at most two ticks longer.
 */
import { Context, Duration } from "effect"

/** Represents the bounds of one server. */
export interface HttpLimitsShape {
  /** Most bytes of a request's body. */
  readonly bodyBytesMax: number
  /** Longest arrival of a body. */
  readonly bodyDeadline: Duration.Duration
  /** Deepest nesting of arrays and objects in a body. */
  readonly jsonDepthMax: number
  /** Longest silence of a connection that waits for its next request or for its client to take what is sent. */
  readonly idle: Duration.Duration
  /** Longest silence of a stream before a comment is sent; headers wait at most this long for a first event. */
  readonly keepAlive: Duration.Duration
  /** Most bytes of one stream that wait for a slow reader. */
  readonly streamBufferBytesMax: number
  /** Longest time in which a reader takes none of the bytes that wait for it. */
  readonly streamStall: Duration.Duration
  /** Longest answer, from the request's arrival on. */
  readonly answerDeadline: Duration.Duration
  /** How long answers under way may go on when the server stops. */
  readonly drain: Duration.Duration
}

/** Gives the bounds of the server. */
export class HttpLimits extends Context.Reference<HttpLimits>()("@weft/entry/HttpLimits", {
  defaultValue: (): HttpLimitsShape => ({
    // twice the most characters of a prompt, as JSON escapes some of them
    bodyBytesMax: 8 * 1024 * 1024,
    // 8 MiB at 2 Mbit/s
    bodyDeadline: Duration.seconds(30),
    // requests need 5; logit_bias and content parts included
    jsonDepthMax: 64,
    // six keep-alive comments of a stream
    idle: Duration.seconds(30),
    // proxies and Bun itself cut a stream that is quiet for 10 s
    keepAlive: Duration.seconds(5),
    // an answer of 250,000 tokens as text; as chunks about 5,000
    streamBufferBytesMax: 1024 * 1024,
    streamStall: Duration.seconds(30),
    // three times the default timeout of OpenAI's clients
    answerDeadline: Duration.minutes(30),
    // container runtimes kill after 10 to 30 s
    drain: Duration.seconds(15)
  })
}) {}
