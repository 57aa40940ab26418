/**
 * What the tenants ask: every question begins with the long instructions of its tenant and ends with a few words of its
 * own. The same seed gives the same questions in the same order, whoever is asked. Pure.
 */
import type { ChatQuestion } from "../http/ChatStream.ts"
import type { Seeded } from "../Seeded.ts"

/** Represents one question. */
export interface Question {
  readonly tenant: number
  /** Whether it is the first of its tenant, whose instructions nobody can have computed yet. */
  readonly isFirst: boolean
  readonly messages: ChatQuestion["messages"]
}

/** Words of a tenant's instructions, a token each in the bundled models' vocabulary. */
const instructionWords = 1_000
/** Words of a question: a fiftieth of the prompt, so that nearly all of it is the tenant's. */
const questionWords = 10

/** Returns `questions` questions, each of a tenant that is drawn. */
export const questionsOf = (
  chance: Seeded,
  { questions, tenants }: { readonly questions: number; readonly tenants: number }
): ReadonlyArray<Question> => {
  const instructions = Array.from({ length: tenants }, () => wordsOf(chance, instructionWords))
  const seen = new Set<number>()
  return Array.from({ length: questions }, () => {
    const tenant = chance.below(tenants)
    const isFirst = !seen.has(tenant)
    seen.add(tenant)
    return {
      tenant,
      isFirst,
      messages: [
        { role: "system", content: instructions[tenant] ?? "" },
        { role: "user", content: wordsOf(chance, questionWords) }
      ]
    }
  })
}

// internal

/** Words that the bundled models' vocabulary has. */
const words = [
  "fox",
  "owl",
  "bear",
  "small",
  "brave",
  "quiet",
  "the",
  "and",
  "river",
  "garden",
  "book",
  "forest"
] as const

const wordsOf = (chance: Seeded, count: number): string =>
  Array.from({ length: count }, () => chance.pick(words)).join(" ")
