/** The name of one actor in the whole mesh: where it lives, what it is, which one it is. */
import { type Either, ParseResult, Schema } from "effect"

/** Visible ASCII without the separator: an address is one line, one word, and splits in one way only. */
const segment = (lengthMax: number) =>
  Schema.String.pipe(Schema.pattern(/^[\x21-\x2e\x30-\x7e]+$/), Schema.maxLength(lengthMax))

/**
 * Represents what an actor is, e.g. `stage`: a letter, then letters, digits, `-` or `_`. It is the label of the actor's
 * metrics, so kinds are few and written in the program, never made from input.
 *
 * @category models
 */
export const ActorKind = Schema.String.pipe(Schema.pattern(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/))

/**
 * Represents the address of one actor; two addresses with equal fields are `Equal` and hash alike. Written
 * `peer/kind/id`, at most 450 characters.
 *
 * @category models
 */
export class ActorAddress extends Schema.Class<ActorAddress>("ActorAddress")({
  /** The process it lives in; 128 characters hold any `did:key` of the mesh (56). */
  peer: segment(128),
  kind: ActorKind,
  /**
   * Which actor of its kind: visible ASCII, `/` allowed as it comes last; 256 characters hold a request id or a hash.
   */
  id: Schema.String.pipe(Schema.pattern(/^[\x21-\x7e]+$/), Schema.maxLength(256))
}) {
  /** Returns `peer/kind/id`. */
  override toString(): string {
    return `${this.peer}/${this.kind}/${this.id}`
  }
}

/**
 * Decodes `peer/kind/id`, the one way to write an address, and encodes it back.
 *
 * @category schemas
 */
export const FromString = Schema.transformOrFail(Schema.String, Schema.typeSchema(ActorAddress), {
  strict: true,
  decode: (text, _options, ast) => {
    const match = /^([^/]+)\/([^/]+)\/(.+)$/.exec(text)
    if (match === null) return ParseResult.fail(new ParseResult.Type(ast, text, "an address is written peer/kind/id"))
    return ParseResult.decodeUnknown(ActorAddress)({ peer: match[1], kind: match[2], id: match[3] })
  },
  encode: (address) => ParseResult.succeed(address.toString())
})

/**
 * Returns the address written as `peer/kind/id`, or what is wrong with the text.
 *
 * @category constructors
 */
export const parse: (text: string) => Either.Either<ActorAddress, ParseResult.ParseError> =
  Schema.decodeEither(FromString)
