/** Serves the streams of a session in the tests and in the victim's process. */
import type { StreamError } from "@weft/mesh/MeshError"
import type { MeshStream, Session } from "@weft/mesh/Transport"
import { Effect, Option } from "effect"

const echo = (stream: MeshStream): Effect.Effect<void, StreamError> =>
  stream.read.pipe(
    Effect.flatMap(
      Option.match({ onNone: () => Effect.succeed(false), onSome: (bytes) => Effect.as(stream.write(bytes), true) })
    ),
    Effect.repeat({ while: (more) => more }),
    Effect.zipRight(stream.end)
  )

/** Serves every stream of a session with `handle`; failures of streams are the tests' business, not the server's. */
export const serve = (session: Session, handle: (stream: MeshStream) => Effect.Effect<unknown, StreamError> = echo) =>
  session.accept.pipe(
    Effect.flatMap((stream) => Effect.forkScoped(Effect.ignore(handle(stream)))),
    Effect.forever,
    Effect.ignore
  )
