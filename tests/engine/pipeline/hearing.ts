/** What one client hears of its answer, over all groups that answer it one after the other. */
import { type GenerateEvent, isLast } from "@weft/engine/Generation"

/** Represents what a client heard. */
export interface Heard {
  readonly tokens: ReadonlyArray<number>
  readonly text: string
  readonly completionTokens: number | undefined
  /** Why attempts failed, oldest first. */
  readonly failures: ReadonlyArray<string>
  /** What no engine may say, where one did. */
  readonly wrong: ReadonlyArray<string>
  /** Longest time without a token between two tokens, in milliseconds. */
  readonly gapMs: number
}

/** Gathers what a client hears. */
export class Hearing {
  readonly #tokens: Array<number> = []
  readonly #failures: Array<string> = []
  readonly #wrong: Array<string> = []
  #text = ""
  #completionTokens: number | undefined
  #state: "asked" | "started" | "ended" = "ended"
  #lastMs: number | undefined
  #gapMs = 0

  constructor(private readonly now: () => number) {}

  /** Notes that an engine is asked. */
  begin(): void {
    if (this.#state !== "ended") this.#wrong.push("asked twice")
    this.#state = "asked"
  }

  /** Returns the last event of an attempt. */
  take(events: ReadonlyArray<GenerateEvent>): GenerateEvent | undefined {
    for (const event of events) this.#hear(event)
    return events.find(isLast)
  }

  /** Returns what a request says of what came so far. */
  resume() {
    return this.#tokens.length === 0 ? {} : { resume: { tokens: [...this.#tokens], textLength: this.#text.length } }
  }

  got(): Heard {
    return {
      tokens: this.#tokens,
      text: this.#text,
      completionTokens: this.#completionTokens,
      failures: this.#failures,
      wrong: this.#wrong,
      gapMs: this.#gapMs
    }
  }

  #hear(event: GenerateEvent): void {
    if (this.#state === "ended") this.#wrong.push(`${event._tag} behind the end`)
    if (event._tag === "Started" && this.#state !== "asked") this.#wrong.push("started twice")
    if (event._tag === "Delta" && this.#state !== "started") this.#wrong.push("a delta before the start")
    if (event._tag === "Started") this.#state = "started"
    if (isLast(event)) this.#state = "ended"
    if (event._tag === "Failed") this.#failures.push(`${event.failure.code}: ${event.failure.message}`)
    if (event._tag === "Finished") this.#completionTokens = event.usage.completionTokens
    if (event._tag !== "Delta") return
    this.#tokens.push(...event.tokens)
    this.#text += event.text
    if (this.#lastMs !== undefined) this.#gapMs = Math.max(this.#gapMs, this.now() - this.#lastMs)
    this.#lastMs = this.now()
  }
}
