/** The choice of a model: what each is called, and what it is good for. */
import type { ChatDocument, ChatModel } from "../ChatDocument.ts"

/** What a tier promises, as the rest of a sentence that begins with a model. */
export const tierPromise: Readonly<Record<ChatModel["tier"], string>> = {
  "daily-driver": "is a daily driver: its answers begin within seconds, and flow.",
  capacity: "is a capacity model: large, and worth a wait.",
  experimental: "is experimental: nothing is promised of its speed."
}

/** Represents what is chosen among. */
export interface ModelPickerProps {
  readonly document: ChatDocument
  readonly chosen: string | null
  /** Absent where nothing can be chosen yet. */
  readonly choose?: ((model: string) => void) | undefined
}

/** Shows the choice; a chosen model that is not served any more stays in it, and says so. */
export const ModelPicker = ({ choose, chosen, document: { models } }: ModelPickerProps) => (
  <label class="select model-select">
    <span class="soft">Model</span>
    <select
      disabled={choose === undefined || models.length === 0}
      value={chosen ?? ""}
      onChange={(event) => choose?.(event.currentTarget.value)}
    >
      {chosen === null && <option value="">none served</option>}
      {chosen !== null && models.every(({ id }) => id !== chosen) && (
        <option value={chosen} selected>
          {chosen} – not served now
        </option>
      )}
      {models.map(({ id, tier }) => (
        <option key={id} value={id} selected={id === chosen}>
          {id} – {tierName[tier]}
        </option>
      ))}
    </select>
  </label>
)

// internal

const tierName: Readonly<Record<ChatModel["tier"], string>> = {
  "daily-driver": "daily driver",
  capacity: "capacity",
  experimental: "experimental"
}
