/** Where a question is written: Enter sends it, Shift and Enter begins a line. Owns what is not sent yet. */
import type { ComponentChildren } from "preact"
import { useRef, useState } from "preact/hooks"

/** Represents what can be done with it. */
export interface ComposerProps {
  /** Whether an answer is under way. */
  readonly isOpen: boolean
  /** Absent where nothing can be asked. */
  readonly ask?: (question: string) => void
  readonly stop?: () => void
  /** Stands below it. */
  readonly children: ComponentChildren
}

/** Shows it, with Send, or Stop while an answer comes. */
export const Composer = ({ ask, children, isOpen, stop }: ComposerProps) => {
  const [written, write] = useState("")
  const field = useRef<HTMLTextAreaElement>(null)
  const send = (): void => {
    if (isOpen || written.trim() === "") return
    ask?.(written.trim())
    write("")
    field.current?.focus()
  }
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault()
        send()
      }}
    >
      <label class="hidden" for="question">
        Your question
      </label>
      <div class="writing">
        <textarea
          id="question"
          ref={field}
          rows={2}
          aria-describedby="asking"
          maxLength={questionLengthMax}
          placeholder="Ask something"
          disabled={ask === undefined}
          value={written}
          onInput={(event) => write(event.currentTarget.value)}
          onKeyDown={(event) => {
            // Enter that ends the choice of a character is no end of the question
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return
            event.preventDefault()
            send()
          }}
        />
        {isOpen ? (
          <button
            key="stop"
            type="button"
            class="action"
            onClick={() => {
              stop?.()
              field.current?.focus()
            }}
          >
            Stop
          </button>
        ) : (
          <button key="send" type="submit" class="action" disabled={ask === undefined || written.trim() === ""}>
            Send
          </button>
        )}
      </div>
      <p id="asking" class="note">
        <span class="keys">Enter sends, Shift+Enter begins a line.</span> {children}
      </p>
    </form>
  )
}

// internal

/** A quarter of the characters the entry reads of a conversation; beyond it the page would be slow to write in. */
const questionLengthMax = 1_000_000
