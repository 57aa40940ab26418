/** The status page as HTML: figures drawn by the server, the document beside them for the script that takes over. */
import { renderToString } from "preact-render-to-string"
import type { StatusDocument } from "../StatusDocument.ts"
import type { Assets } from "./Assets.ts"
import { StatusView } from "./StatusView.tsx"

/** Represents what one page is made of. */
export interface StatusPageOptions {
  readonly document: StatusDocument
  /** The document as it is told. */
  readonly json: string
  readonly theme: Theme
  readonly assets: Assets
}

/** The reader's choice, or their system's. */
export type Theme = "light" | "dark" | "system"

/** What stands in the page where the entry's own address belongs, which differs by how a reader came. */
export const originPlaceholder = "http://ENTRY:8080"

/** Returns the page. */
export const toHtml = ({ assets, document, json, theme }: StatusPageOptions): string =>
  `<!doctype html>${renderToString(
    <html lang="en" data-theme={theme === "system" ? undefined : theme}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>Weft status</title>
        <link rel="icon" href={`/assets/${assets.icon}`} type="image/svg+xml" />
        <link rel="stylesheet" href={`/assets/${assets.stylesheet}`} />
        <script type="module" src={`/assets/${assets.script}`} />
      </head>
      <body>
        <div id="app">
          <StatusView document={document} origin={originPlaceholder} zone="utc" link="none" ageSeconds={0} />
        </div>
        {/* Data, no script; nothing in it can end the element. */}
        <script
          id="status"
          type="application/json"
          dangerouslySetInnerHTML={{ __html: json.replaceAll("<", "\\u003c") }}
        />
      </body>
    </html>
  )}`
