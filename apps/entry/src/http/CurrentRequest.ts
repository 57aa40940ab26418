/** What belongs to one HTTP request whatever it asks: its id, when it came, and the headers its response gets. */
import { Context } from "effect"

/** Gives the request under way. */
export class CurrentRequest extends Context.Tag("@weft/entry/http/CurrentRequest")<
  CurrentRequest,
  {
    /** `req_` and 32 hexadecimal digits; also the id of the answer on the mesh. */
    readonly id: string
    /** The client's own id for its logs, at most 128 printable characters. */
    readonly clientRequestId: string | undefined
    readonly startedMs: number
    /** Headers of the response, whether it succeeds or not; handlers add to it. */
    readonly responseHeaders: Record<string, string>
  }
>() {}
