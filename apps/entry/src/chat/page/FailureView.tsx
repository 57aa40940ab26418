/** What went wrong with an answer, what to do, and the means to do it. */
import { useLayoutEffect, useRef, useState } from "preact/hooks"
import { span } from "../../page/Format.ts"
import { type ChatFailure, wordsOf } from "../ChatFailure.ts"
import type { ChatActions } from "./ChatView.tsx"

/** Represents what is shown. */
export interface FailureViewProps {
  readonly failure: ChatFailure
  readonly hasText: boolean
  readonly hasKey: boolean
  /** Whether the question can still be asked again. */
  readonly isLast: boolean
  readonly nowMs: number
  readonly act: ChatActions | undefined
}

/** Shows the failure. */
export const FailureView = ({ act, failure, hasKey, hasText, isLast, nowMs }: FailureViewProps) => {
  const { cure, happened } = wordsOf(failure, { hasKey, hasText })
  return (
    <div class="failure" data-kind={failure.kind}>
      <p>
        <strong>{happened}</strong> {cure}
        {isLast && failure.retryAtMs !== undefined && <Wait untilMs={failure.retryAtMs} nowMs={nowMs} />}
      </p>
      {isLast && failure.kind === "key" && <KeyForm giveKey={act?.giveKey} />}
      {isLast && failure.kind !== "key" && (
        <p class="cures">
          <button type="button" class="plain" onClick={() => act?.askAgain()}>
            Ask again
          </button>
          {failure.kind === "long" && (
            <button type="button" class="plain" onClick={() => act?.clear()}>
              New chat
            </button>
          )}
        </p>
      )}
    </div>
  )
}

// internal

/** Counts down for those who see it; who listens hears the time once. */
const Wait = ({ nowMs, untilMs }: { readonly untilMs: number; readonly nowMs: number }) => {
  const seconds = Math.ceil((untilMs - nowMs) / 1_000)
  return (
    <>
      {" "}
      <span class="hidden">Ask again at {new Date(untilMs).toLocaleTimeString("en-GB")}.</span>
      <span aria-hidden="true" class="wait" title={new Date(untilMs).toISOString()}>
        {seconds > 0 ? `Ask again in ${span(seconds)}.` : "You can ask again now."}
      </span>
    </>
  )
}

const KeyForm = ({ giveKey }: { readonly giveKey: ((key: string) => void) | undefined }) => {
  const [key, setKey] = useState("")
  const field = useRef<HTMLInputElement>(null)
  // at once, so that what is typed now goes nowhere else
  useLayoutEffect(() => field.current?.focus(), [])
  return (
    <form
      class="key"
      onSubmit={(event) => {
        event.preventDefault()
        if (key.trim() !== "") giveKey?.(key.trim())
      }}
    >
      <label for="key">Key of this entry</label>
      <div class="writing">
        <input
          id="key"
          ref={field}
          type="password"
          autoComplete="off"
          spellcheck={false}
          maxLength={keyLengthMax}
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        <button type="submit" class="action" disabled={key.trim() === ""}>
          Use it
        </button>
      </div>
      <p class="note">Kept in this tab alone, until you close it.</p>
    </form>
  )
}

/** Longer than any key an entry makes. */
const keyLengthMax = 512
