/** What is asked and answered in the benchmark of the gateway: as small as a request of the OpenAI API can be. */

/** Name of the model that answers at once. */
export const mockModelName = "mock"

/** Its answer. */
export const answerText = "Yes."

/** The path and the body of every request. */
export const requestPath = "/v1/chat/completions"
export const requestBody = JSON.stringify({
  model: mockModelName,
  messages: [{ role: "user", content: "Are you there?" }],
  max_tokens: 16,
  temperature: 0
})
