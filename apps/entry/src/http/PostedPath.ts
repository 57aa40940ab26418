/** Which address a request names, read as the router of all other addresses reads it, but without its cost. */
import { Either } from "effect"

/** Returns the path of a URL as it stands in it: from behind the host to the query. */
export const pathOf = (url: string): string => {
  const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("//") + 2)
  if (start === -1) return "/"
  const end = url.indexOf("?", start)
  return end === -1 ? url.slice(start) : url.slice(start, end)
}

/**
 * Returns the one spelling of a path whose case, doubled slashes, slash at the end, matrix parameters and percent signs
 * make no difference; find-my-way's rules. What is encoded wrongly stays as it is.
 */
export const canonical = (path: string): string => {
  const [bare = ""] = path.replace(/\/\/+/g, "/").split(/[;#]/, 1)
  const decoded = Either.getOrElse(
    Either.try(() => decodeURI(bare)),
    () => bare
  )
  return (decoded.length > 1 && decoded.endsWith("/") ? decoded.slice(0, -1) : decoded).toLowerCase()
}
