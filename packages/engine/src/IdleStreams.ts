/**
 * Streams of one session whose answer has ended and that wait for the next request: opening one costs a request a
 * quarter of a millisecond, and as much again on a slow line. A stream carries one answer at a time, so that a lost
 * packet holds up no other.
 */
import * as Link from "@weft/mesh/Link"
import type { MeshStream, Session, StreamListener } from "@weft/mesh/Transport"

/** Most streams of one session that wait; a peer has hardly ever more slots. */
const idleMax = 64

/** Represents the idle streams of one session. */
export class IdleStreams {
  readonly #streams: Array<MeshStream> = []

  /** Returns those of `session`. */
  static of(session: Session): IdleStreams {
    const known = ofSession.get(session) ?? new IdleStreams()
    ofSession.set(session, known)
    return known
  }

  /** Takes the stream that was used last; undefined where there is none. */
  take(): MeshStream | undefined {
    return this.#streams.pop()
  }

  /** Keeps a stream, whose listener this replaces; whatever comes on it now ends it. */
  keep(stream: MeshStream): void {
    if (this.#streams.length === idleMax) {
      stream.unsafeReset(Link.ResetCode.cancelled)
      return
    }
    this.#streams.push(stream)
    stream.unsafeListen(new Idle(stream, this))
  }

  /** Forgets a stream that is over, wherever it stands. */
  forget(stream: MeshStream): void {
    const at = this.#streams.indexOf(stream)
    if (at >= 0) this.#streams.splice(at, 1)
  }
}

// internal

/** Listens while nothing may come. */
class Idle implements StreamListener {
  constructor(
    private readonly stream: MeshStream,
    private readonly streams: IdleStreams
  ) {}

  data(): void {
    this.ended()
  }

  ended(): void {
    this.streams.forget(this.stream)
    this.stream.unsafeReset(Link.ResetCode.malformed)
  }

  closed(): void {
    this.streams.forget(this.stream)
  }

  failed(): void {
    this.streams.forget(this.stream)
  }

  tick(): void {}
}

const ofSession = new WeakMap<Session, IdleStreams>()
