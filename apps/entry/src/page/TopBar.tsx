/** What stands above every page: the name, the other pages, what this one says of itself, and the theme's switch. */
import type { ComponentChildren } from "preact"

/** The pages, as paths name them. */
export type PageName = "status" | "chat"

/** Represents what stands there. */
export interface TopBarProps {
  readonly at: PageName
  /** What this page says of itself. */
  readonly children?: ComponentChildren
  /** Absent where the button can do nothing yet. */
  readonly switchTheme?: (() => void) | undefined
}

/** Shows it. */
export const TopBar = ({ at, children, switchTheme }: TopBarProps) => (
  <header class="top">
    <a class="brand" href="/">
      <WeftMark /> weft
    </a>
    <nav class="pages" aria-label="Pages">
      {pages.map(({ label, name }) => (
        <a key={name} class="page-name" href={`/${name}`} {...(name === at && { "aria-current": "page" as const })}>
          {label}
        </a>
      ))}
    </nav>
    {children}
    <button type="button" class="quiet" disabled={switchTheme === undefined} onClick={switchTheme}>
      <svg class="theme-mark" viewBox="0 0 16 16" aria-hidden="true">
        <circle cx="8" cy="8" r="6.5" />
        <path d="M8 1.5a6.5 6.5 0 0 1 0 13Z" />
      </svg>
      <span class="hidden">Switch between light and dark</span>
    </button>
  </header>
)

// internal

const pages: ReadonlyArray<{ readonly name: PageName; readonly label: string }> = [
  { name: "chat", label: "Chat" },
  { name: "status", label: "Status" }
]

/** Two threads that cross. */
const WeftMark = () => (
  <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
    <path d="M4 3v18M12 3v5M12 16v5M20 3v18" />
    <path d="M1 7.5h1.5M5.5 7.5h13M21.5 7.5h1.5M1 16.5h9.5M13.5 16.5h9.5" />
    <path d="M12 8v8" />
  </svg>
)
