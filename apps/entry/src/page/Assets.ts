/**
 * The pages' scripts and their one stylesheet, made of their sources when the first page is asked for: there is no
 * build step, and an entry that nobody looks at does no work for it. Kept in memory, compressed, under names that
 * change with them.
 */
import { Data, Effect } from "effect"
import type { PageName } from "./TopBar.tsx"

/** Represents one file as it is sent. */
export interface Asset {
  readonly contentType: string
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly gzipped: Uint8Array<ArrayBuffer>
}

/** Represents the files of the pages, by the last part of their path. */
export interface Assets {
  readonly files: ReadonlyMap<string, Asset>
  readonly scripts: Readonly<Record<PageName, string>>
  readonly stylesheet: string
  readonly icon: string
}

/** Represents sources that cannot be made into pages; the log has what the bundler said. */
export class AssetsBroken extends Data.TaggedError("AssetsBroken")<{ readonly cause: unknown }> {
  override get message(): string {
    return `The pages cannot be made: ${String(this.cause)}. Run bun install, then start the entry again.`
  }
}

/** Bundles the pages. */
export const make: Effect.Effect<Assets, AssetsBroken> = Effect.gen(function* () {
  const built = yield* Effect.tryPromise({
    try: () =>
      Bun.build({
        entrypoints: [
          `${import.meta.dir}/../status/page/internal/status.tsx`,
          `${import.meta.dir}/../chat/page/internal/chat.tsx`,
          `${import.meta.dir}/weft.css`,
          `${import.meta.dir}/icon.svg`
        ],
        target: "browser",
        minify: true,
        splitting: true,
        define: { "process.env.NODE_ENV": '"production"' },
        loader: { ".svg": "file" },
        // a part is named after a page that uses it, and must not be taken for its script
        naming: { entry: "[name]-[hash].[ext]", chunk: "part-[name]-[hash].[ext]", asset: "[name]-[hash].[ext]" }
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
    scripts: { status: yield* named(/^status-.*\.js$/), chat: yield* named(/^chat-.*\.js$/) },
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
