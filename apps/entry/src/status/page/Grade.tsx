/** How much of its own speed a model keeps through the mesh: a ring, a percentage and a word. */
import { Figure, Unmeasured } from "../../page/Figure.tsx"
import { percent } from "../../page/Format.ts"
import type { Efficiency } from "../StatusDocument.ts"

/** Shows mesh efficiency as a ring that is filled so far, a percentage and a word. */
export const Grade = ({ grade, ratio }: Efficiency) =>
  ratio === null || grade === "unmeasured" ? (
    <span class="grade">
      <svg class="ring" viewBox="0 0 16 16" aria-hidden="true">
        <circle class="ring-none" cx="8" cy="8" r="6" />
      </svg>
      <Unmeasured />
    </span>
  ) : (
    <span class={`grade ${grade}`}>
      <svg class="ring" viewBox="0 0 16 16" aria-hidden="true">
        <circle class="ring-rest" cx="8" cy="8" r="6" />
        <circle
          class="ring-part"
          cx="8"
          cy="8"
          r="6"
          stroke-dasharray={`${(Math.min(1, ratio) * around).toFixed(2)} ${around.toFixed(2)}`}
          transform="rotate(-90 8 8)"
        />
      </svg>
      <Figure {...percent(ratio)} /> <span class="word">{words[grade]}</span>
    </span>
  )

// internal

/** Words of the grades: colour is never alone. */
const words = { green: "good", amber: "fair", red: "poor" } as const

/** Circumference of the ring below, whose radius is 6. */
const around = 2 * Math.PI * 6
