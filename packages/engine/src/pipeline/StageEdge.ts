/**
 * One direction of the way between two peers of a pipeline: a stream whose first frame is an `Edge` and whose others
 * are stage frames, passed on as bytes. Plain calls on both ends, as frames come and go by the hundred; whoever does
 * not keep up loses the edge.
 */
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import type { MeshStream, StreamListener } from "@weft/mesh/Transport"
import { Either } from "effect"
import { canonicalTokens } from "../BatchPlan.ts"
import { Edge } from "./PipelineProtocol.ts"
import * as SplitMetrics from "./SplitMetrics.ts"
import { headerBytes, textBytesMax } from "./StageFrame.ts"

/** Most bytes that wait for the other side: eight prompt chunks of the widest model, or one that does not read. */
export const waitingBytesMax = 16 * 1024 * 1024

/** Largest frames that a sender may be ahead: those of one prompt without an answer, and some of others. */
const windowFrames = 8

/** Returns the most bytes of a frame on the way to a stage with hidden states of `width` values. */
export const frameBytesMax = (width: number): number =>
  Math.max(headerBytes + canonicalTokens * (4 + width * 4), answerBytesMax)

/** Most bytes of a frame on the way to the host. */
export const answerBytesMax = headerBytes + textBytesMax

/** Represents an edge that frames are sent over. */
export interface EdgeOut {
  /** Sends a frame, which must not change; nothing happens after the end. */
  readonly send: (frame: Uint8Array) => void
  /** Ends it; `lost` is not told. */
  readonly close: () => void
}

/** Represents who is told of an edge's life. */
export interface EdgeEvents {
  readonly opened: () => void
  /** Told once, with why; also where it could not be opened. */
  readonly lost: (reason: string) => void
}

/** Opens an edge over a link; what is sent before it is open waits. */
export const open = (link: Link.Link, edge: Edge, events: EdgeEvents): EdgeOut => {
  const sending = new Sending(edge.to, events)
  Link.unsafeOpen(link, "edge", encodeEdge(edge), sending)
  return sending
}

/** Represents an edge that another peer opened. */
export interface EdgeIn {
  readonly edge: Edge
  /** Takes its frames from now on; until then they wait at the sender. */
  readonly attach: (taker: EdgeTaker) => void
  /** Drops what still comes, until the sender ends it. */
  readonly detach: () => void
  /** Refuses it. */
  readonly reset: () => void
  /** Bytes that came so far; a large frame takes its time over a slow line. */
  readonly receivedBytes: () => number
}

/** Represents who takes the frames of an edge. */
export interface EdgeTaker {
  /** Most bytes of one frame; with more the edge is reset. */
  readonly frameBytesMax: number
  /** Takes one frame; false where it is none that may come, which resets the edge. */
  readonly take: (frame: Uint8Array) => boolean
  /** Told once that no frames come any more, with why. */
  readonly lost: (reason: string) => void
}

/** Reads the beginning of an edge that another peer opened; one that does not begin as an edge is reset. */
export const accept = (stream: MeshStream, opened: (edge: EdgeIn) => void): void =>
  stream.unsafeListen(new Beginning(stream, opened))

// internal

/** An `Edge` is about 90 bytes. */
const edgeBytesMax = 1_024
/** It comes with the stream's first packet. */
const beginMsMax = 5_000

const encodeEdge = Frames.encode(Edge)
const decodeEdge = Frames.decode(Edge)

class Sending implements EdgeOut, Link.Opening, StreamListener {
  readonly #to: Edge["to"]
  readonly #events: EdgeEvents
  #stream: MeshStream | undefined
  #early: Array<Uint8Array> = []
  #earlyBytes = 0
  #isOver = false

  constructor(to: Edge["to"], events: EdgeEvents) {
    this.#to = to
    this.#events = events
  }

  opened(stream: MeshStream): void {
    this.#stream = stream
    if (this.#isOver) return void stream.unsafeReset(Link.ResetCode.cancelled)
    stream.unsafeListen(this)
    for (const frame of this.#early) stream.unsafeWrite(frame)
    this.#early = []
    this.#events.opened()
  }

  refused(error: Error): void {
    this.#lose(`no stream could be opened (${error.message})`)
  }

  send(frame: Uint8Array): void {
    if (this.#isOver) return
    SplitMetrics.passed("sent", this.#to, frame.length)
    const bytes = Frames.encodePayload(frame)
    if (this.#stream === undefined) {
      this.#early.push(bytes)
      this.#earlyBytes += bytes.length
    }
    const waitingBytes = this.#stream?.unsafeWrite(bytes) ?? this.#earlyBytes
    if (waitingBytes > waitingBytesMax) this.#lose(`${waitingBytes} bytes wait to be read`)
  }

  close(): void {
    this.#isOver = true
    this.#early = []
    this.#stream?.unsafeReset(Link.ResetCode.cancelled)
  }

  data(): void {
    this.#lose("it was written on from the wrong end")
  }

  ended(): void {}

  closed(): void {
    this.#lose("it was ended")
  }

  failed(error: Error): void {
    this.#lose(error.message)
  }

  tick(): void {}

  #lose(reason: string): void {
    if (this.#isOver) return
    this.close()
    this.#events.lost(reason)
  }
}

/** Reads the first frame and lets go. */
class Beginning implements StreamListener {
  readonly #feed = new Frames.FrameFeed(edgeBytesMax)
  readonly #stream: MeshStream
  readonly #opened: (edge: EdgeIn) => void
  #sinceMs: number | undefined

  constructor(stream: MeshStream, opened: (edge: EdgeIn) => void) {
    this.#stream = stream
    this.#opened = opened
  }

  data(bytes: Uint8Array): void {
    this.#feed.push(bytes)
    const payload = this.#feed.next()
    if (payload === undefined) return
    const edge = payload instanceof Uint8Array ? Either.getOrUndefined(decodeEdge(payload)) : undefined
    if (edge === undefined) return void this.#stream.unsafeReset(Link.ResetCode.malformed)
    this.#stream.unsafeListen(undefined)
    this.#stream.unsafeUnread(this.#feed.rest())
    this.#opened(new Taking(this.#stream, edge))
  }

  ended(): void {
    this.#stream.unsafeReset(Link.ResetCode.malformed)
  }

  closed(): void {}

  failed(): void {}

  tick(nowMs: number): void {
    this.#sinceMs ??= nowMs
    if (nowMs - this.#sinceMs > beginMsMax) this.#stream.unsafeReset(Link.ResetCode.malformed)
  }
}

class Taking implements EdgeIn, StreamListener {
  readonly edge: Edge
  readonly #stream: MeshStream
  #feed = new Frames.FrameFeed(0)
  #taker: EdgeTaker | undefined
  #receivedBytes = 0

  constructor(stream: MeshStream, edge: Edge) {
    this.edge = edge
    this.#stream = stream
  }

  attach(taker: EdgeTaker): void {
    this.#taker = taker
    this.#feed = new Frames.FrameFeed(taker.frameBytesMax)
    this.#stream.unsafeWiden(windowFrames * taker.frameBytesMax)
    this.#stream.unsafeListen(this)
  }

  detach(): void {
    this.#taker = undefined
    this.#feed = new Frames.FrameFeed(0)
  }

  reset(): void {
    this.#taker = undefined
    this.#stream.unsafeReset(Link.ResetCode.cancelled)
  }

  receivedBytes(): number {
    return this.#receivedBytes
  }

  data(bytes: Uint8Array): void {
    if (this.#taker === undefined) return
    this.#receivedBytes += bytes.length
    this.#feed.push(bytes)
    for (let frame = this.#feed.next(); frame !== undefined; frame = this.#feed.next()) {
      if (!(frame instanceof Uint8Array)) return void this.#lose(frame.message)
      SplitMetrics.passed("received", this.edge.to, frame.length)
      // Taking one may have detached it.
      if (this.#taker?.take(frame) === false) return void this.#lose("it carried a frame that may not come")
    }
  }

  ended(): void {
    this.#lose("it was ended")
  }

  closed(): void {}

  failed(error: Error): void {
    this.#lose(error.message)
  }

  tick(nowMs: number): void {
    const late = this.#feed.tick(nowMs)
    if (late !== undefined) this.#lose(late.message)
  }

  #lose(reason: string): void {
    const taker = this.#taker
    this.#taker = undefined
    this.#stream.unsafeReset(Link.ResetCode.malformed)
    taker?.lost(reason)
  }
}
