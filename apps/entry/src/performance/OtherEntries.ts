/** Which other entries this one exchanges measurements with, as `WEFT_ENTRIES` names them. */
import { Either } from "effect"

/** Most other entries: each asks each. */
export const urlsMax = 16

/** Returns the roots of the HTTP doors that a list names, none twice; or what is wrong with it. */
export const parseList = (text: string): Either.Either<ReadonlyArray<string>, string> => {
  const parts = text.split(",").flatMap((part) => part.trim() || [])
  if (parts.length > urlsMax) return Either.left(`at most ${urlsMax} entries`)
  const urls: Array<string> = []
  for (const part of parts) {
    const url = URL.canParse(part) ? new URL(part) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username + url.password !== "") {
      return Either.left(`'${part}' is no entry: write http://HOST:PORT or https://HOST, separated by commas`)
    }
    urls.push(url.origin)
  }
  return Either.right([...new Set(urls)])
}
