/** What is asked and answered in the benchmark of the gateway: as small as a request of the OpenAI API can be. */
import type { GenerateEvent } from "@weft/engine/Generation"

/** Name of the model that answers at once. */
export const mockModelName = "mock"

const answerText = "Yes."
/** The answer's tokens, one a character; no vocabulary is asked. */
const tokens = [...answerText].map((_, index) => index)

/** Its answer. */
export const answerEvents: ReadonlyArray<GenerateEvent> = [
  { _tag: "Started", promptTokens: 8, seed: 0 },
  { _tag: "Delta", text: answerText, tokens },
  {
    _tag: "Finished",
    finishReason: "stop",
    usage: { promptTokens: 8, completionTokens: tokens.length, cachedTokens: 0 }
  }
]

/** The path and the body of every request. */
export const requestPath = "/v1/chat/completions"
export const requestBody = JSON.stringify({
  model: mockModelName,
  messages: [{ role: "user", content: "Are you there?" }],
  max_tokens: 16,
  temperature: 0
})
