/**
 * The page's script and stylesheet, made of their sources when the first page is asked for: there is no build step, and
 * an entry that nobody looks at does no work for it. Kept in memory, compressed, under names that change with them.
 */
import { Data, Effect } from "effect"

/** Represents one file as it is sent. */
export interface Asset {
  readonly contentType: string
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly gzipped: Uint8Array<ArrayBuffer>
}

/** Represents the files of the page, by the last part of their path. */
export interface Assets {
  readonly files: ReadonlyMap<string, Asset>
  readonly script: string
  readonly stylesheet: string
  readonly icon: string
}

/** Represents sources that cannot be made into a page; the log has what the bundler said. */
export class AssetsBroken extends Data.TaggedError("AssetsBroken")<{ readonly cause: unknown }> {
  override get message(): string {
    return `The status page cannot be made: ${String(this.cause)}. Run bun install, then start the entry again.`
  }
}

/** Bundles the page. */
export const make: Effect.Effect<Assets, AssetsBroken> = Effect.gen(function* () {
  const built = yield* Effect.tryPromise({
    try: () =>
      Bun.build({
        entrypoints: [
          `${import.meta.dir}/internal/browser.tsx`,
          `${import.meta.dir}/weft.css`,
          `${import.meta.dir}/icon.svg`
        ],
        target: "browser",
        minify: true,
        splitting: true,
        define: { "process.env.NODE_ENV": '"production"' },
        loader: { ".svg": "file" },
        naming: { entry: "[name]-[hash].[ext]", chunk: "[name]-[hash].[ext]", asset: "[name]-[hash].[ext]" }
      }),
    catch: (cause) => new AssetsBroken({ cause })
  })
  const files = new Map(
    yield* Effect.forEach(built.outputs, (output) =>
      Effect.map(
        Effect.promise(() => output.arrayBuffer()),
        (buffer) => {
          const bytes = new Uint8Array(buffer)
          const name = output.path.replace(/^.*\//, "")
          const contentType = contentTypes[name.replace(/^.*\./, "")] ?? "application/octet-stream"
          return [name, { contentType, bytes, gzipped: Bun.gzipSync(bytes, { level: 9 }) }] as const
        }
      )
    )
  )
  const named = (pattern: RegExp) =>
    Effect.fromNullable([...files.keys()].find((name) => pattern.test(name))).pipe(
      Effect.mapError(() => new AssetsBroken({ cause: `no ${pattern} among ${[...files.keys()].join(" ")}` }))
    )
  return {
    files,
    script: yield* named(/^browser-.*\.js$/),
    stylesheet: yield* named(/^weft-.*\.css$/),
    icon: yield* named(/^icon-.*\.svg$/)
  }
})

// internal

const contentTypes: Readonly<Record<string, string>> = {
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml"
}
