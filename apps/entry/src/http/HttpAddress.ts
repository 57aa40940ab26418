/** Where the HTTP door listens, known once it does. */
import { Context } from "effect"

/** Gives the address of the door. */
export class HttpAddress extends Context.Tag("@weft/entry/http/HttpAddress")<
  HttpAddress,
  {
    /** `http://HOST:PORT`, without a path. */
    readonly url: string
    /** The port that the system chose where the configuration says 0. */
    readonly port: number
  }
>() {}
