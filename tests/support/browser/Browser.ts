/**
 * A headless Chromium for tests of pages, driven by Playwright in a Node process of its own. One page at a time; the
 * browser ends with the scope.
 */
import { existsSync, mkdirSync } from "node:fs"
import { Effect, type Scope } from "effect"

/** Represents how a page is looked at. */
export interface Look {
  readonly theme: "light" | "dark"
  /** CSS pixels. */
  readonly width: number
  readonly height?: number
  /** False: as a reader without JavaScript has it. */
  readonly script?: boolean
}

/** Represents a breach that axe-core found. */
export interface Violation {
  readonly id: string
  readonly help: string
  readonly at: ReadonlyArray<string>
}

/** Represents the browser. */
export interface Browser {
  /** Opens `url` on a new page; returns the status of the response. */
  readonly open: (url: string, look: Look) => Effect.Effect<number>
  readonly reload: Effect.Effect<void>
  /** Returns what an expression gives on the page, as JSON. */
  readonly evaluate: <A>(expression: string) => Effect.Effect<A>
  /** Waits until an expression is true on the page. */
  readonly wait: (expression: string, withinMs?: number) => Effect.Effect<void>
  readonly press: (key: string) => Effect.Effect<void>
  /** Writes text where the focus is, a key at a time. */
  readonly type: (text: string) => Effect.Effect<void>
  /** Returns what the console called errors since the page was opened: breaches of the CSP and failed loads too. */
  readonly errors: Effect.Effect<ReadonlyArray<string>>
  readonly violations: Effect.Effect<ReadonlyArray<Violation>>
  /** Keeps the whole page as `.weft/screenshots/NAME.png`, for people to look at. */
  readonly screenshot: (name: string) => Effect.Effect<void>
}

const root = new URL("../../../", import.meta.url).pathname
const screenshots = `${root}.weft/screenshots`

/** Where Debian and others install it. */
const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]

/** Longest wait for something to appear, unless the test knows better. */
const withinMsDefault = 20_000

/** Starts the browser. */
export const launch: Effect.Effect<Browser, never, Scope.Scope> = Effect.gen(function* () {
  const chromium = places.find((place) => existsSync(place))
  const node = Bun.which("node")
  if (chromium === undefined || node === null) {
    return yield* Effect.dieMessage(
      "Tests of pages need chromium and node: install both, e.g. apt-get install chromium."
    )
  }
  mkdirSync(screenshots, { recursive: true })
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      Bun.spawn({
        cmd: [node, `${import.meta.dir}/drive.mjs`, chromium],
        stdio: ["pipe", "pipe", "inherit"]
      })
    ),
    (child) =>
      Effect.promise(async () => {
        await child.stdin.end()
        // a browser that does not end by itself must not hold up the tests
        await Promise.race([child.exited, Bun.sleep(5_000)])
        child.kill("SIGKILL")
      })
  )
  const answers = child.stdout.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  const readLine = async (): Promise<string> => {
    while (!rest.includes("\n")) {
      const { done, value } = await answers.read()
      if (done) throw new Error("the browser's driver has ended; its last lines say why")
      rest += value
    }
    const end = rest.indexOf("\n")
    const line = rest.slice(0, end)
    rest = rest.slice(end + 1)
    return line
  }
  const command = <A>(name: string, parameters: object = {}): Effect.Effect<A> =>
    Effect.promise(async () => {
      child.stdin.write(`${JSON.stringify({ name, ...parameters })}\n`)
      await child.stdin.flush()
      const { error, value } = JSON.parse(await readLine()) as { readonly error?: string; readonly value: A }
      if (error !== undefined) throw new Error(`${name} ${JSON.stringify(parameters)}: ${error}`)
      return value
    })
  return {
    open: (url, { height = 900, script = true, theme, width }) =>
      Effect.zipRight(command("open", { theme, width, height, script }), command<number>("goto", { url })),
    reload: Effect.asVoid(command("reload")),
    evaluate: (expression) => command("evaluate", { expression }),
    wait: (expression, withinMs = withinMsDefault) => Effect.asVoid(command("wait", { expression, withinMs })),
    press: (key) => Effect.asVoid(command("press", { key })),
    type: (text) => Effect.asVoid(command("type", { text })),
    errors: command("errors"),
    violations: command("axe"),
    screenshot: (name) => Effect.asVoid(command("screenshot", { path: `${screenshots}/${name}.png` }))
  }
})
