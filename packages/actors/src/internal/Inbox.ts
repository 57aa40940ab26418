/**
 * The mailbox of one actor and the loop over it. A message waits here as a `Turn`; the loop grants turns one at a
 * time in the order they came, and goes on when the granted one is over. The fiber of the call runs the turn itself,
 * so that cancelling the call cancels it; the loop holds nothing but the order.
 */
import { Cause, Deferred, type Duration, Effect, Exit, FiberId, MutableQueue, Option } from "effect"
import type { ActorStopped } from "../ActorError.ts"

/** One message on its way: waits, is granted the life it runs in, is over. */
export class Turn<Life> {
  readonly granted = Deferred.unsafeMake<Life, ActorStopped>(FiberId.none)
  readonly ended = Deferred.unsafeMake<void>(FiberId.none)
  over = false

  /**
   * Ends the turn; a defect in `exit` crashes the actor. Only the first end counts, before the grant it means a skip.
   */
  end(exit: Exit.Exit<unknown, unknown>): void {
    if (this.over) return
    this.over = true
    const crash = Exit.isFailure(exit) ? Cause.keepDefects(exit.cause) : Option.none()
    Deferred.unsafeDone(this.ended, Option.match(crash, { onNone: () => Exit.void, onSome: Exit.failCause }))
  }
}

/** The turns that wait, at most `capacity`. */
export class Inbox<Life> {
  private readonly queue: MutableQueue.MutableQueue<Turn<Life>>
  private readonly filled = Effect.unsafeMakeLatch(false)

  constructor(readonly capacity: number) {
    this.queue = MutableQueue.bounded(capacity)
  }

  get size(): number {
    return MutableQueue.length(this.queue)
  }

  get full(): boolean {
    return MutableQueue.isFull(this.queue)
  }

  /** Puts a turn last and returns true, or false at the bound. */
  offer(turn: Turn<Life>): boolean {
    const offered = MutableQueue.offer(this.queue, turn)
    if (offered) this.filled.unsafeOpen()
    return offered
  }

  /** Tells every waiting turn that it will not run. */
  refuse(error: ActorStopped): void {
    for (let turn = this.poll(); turn !== undefined; turn = this.poll()) {
      Deferred.unsafeDone(turn.granted, Exit.fail(error))
    }
  }

  /**
   * Grants turns to `life` for ever; fails with the defect of a turn that crashed. Interruption takes effect between
   * turns: the running one has `grace` to end, then it is left to the life's scope.
   */
  serve(life: Life, grace: Duration.Duration, onTurn: (seconds: number) => void): Effect.Effect<never> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(this, function* () {
        const clock = yield* Effect.clock
        while (true) {
          yield* restore(this.filled.await)
          const turn = this.poll()
          if (turn === undefined) this.filled.unsafeClose()
          if (turn === undefined || turn.over) continue
          const grantedAtNs = clock.unsafeCurrentTimeNanos()
          Deferred.unsafeDone(turn.granted, Exit.succeed(life))
          const ended = Deferred.await(turn.ended)
          yield* Effect.onInterrupt(restore(ended), () => Effect.timeoutOption(Effect.interruptible(ended), grace))
          onTurn(Number(clock.unsafeCurrentTimeNanos() - grantedAtNs) / 1e9)
        }
      })
    )
  }

  private poll(): Turn<Life> | undefined {
    return MutableQueue.poll(this.queue, undefined)
  }
}
