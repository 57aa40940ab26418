/** A page as HTML: its first paint drawn by the server, and what it was drawn of for the script that takes over. */
import type { ComponentChildren } from "preact"
import { renderToString } from "preact-render-to-string"
import type { Assets } from "./Assets.ts"
import type { PageName } from "./TopBar.tsx"

/** Represents what one page is made of. */
export interface PageShell {
  readonly name: PageName
  readonly title: string
  readonly theme: Theme
  readonly assets: Assets
  /** What the script reads from the element that has the page's name as its id. */
  readonly json: string
  readonly content: ComponentChildren
}

/** The reader's choice, or their system's. */
export type Theme = "light" | "dark" | "system"

/** What stands in a page where the entry's own address belongs, which differs by how a reader came. */
export const originPlaceholder = "http://ENTRY:8080"

/** Returns the page. */
export const toHtml = ({ assets, content, json, name, theme, title }: PageShell): string =>
  `<!doctype html>${renderToString(
    <html lang="en" data-theme={theme === "system" ? undefined : theme}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        <link rel="icon" href={`/assets/${assets.icon}`} type="image/svg+xml" />
        <link rel="stylesheet" href={`/assets/${assets.stylesheet}`} />
        <script type="module" src={`/assets/${assets.scripts[name]}`} />
      </head>
      <body>
        <div id="app">{content}</div>
        {/* Data, no script; nothing in it can end the element. */}
        <script
          id={name}
          type="application/json"
          dangerouslySetInnerHTML={{ __html: json.replaceAll("<", "\\u003c") }}
        />
      </body>
    </html>
  )}`
