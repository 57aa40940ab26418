/**
 * Starts a program from one file. Its own modules and those of its libraries are some 1,500, and to find, read and
 * translate them is most of a start. So the first start bundles them into `.weft/programs` of the checkout, and later
 * ones take that bundle until a source changes: an entry listens after half a second instead of 1.7 (`bun run bench
 * start`). Where no bundle can be made, e.g. where nothing may be written, the program runs from its sources.
 */
import { bundleOf } from "./internal/bundleOf.ts"

/**
 * Runs the module at `source`, a file URL, in this process, once the promise resolves; it must not wait at its top
 * level. With `WEFT_FROM_SOURCES=1` no bundle is made or taken.
 *
 * @category constructors
 */
export const launch = (source: URL): Promise<unknown> => import(bundleOf(source))
