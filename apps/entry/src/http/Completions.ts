/** `POST /v1/completions`. */
import * as AnswerFormat from "./AnswerFormat.ts"
import type { AnswerAddress } from "./Answering.ts"
import * as CompletionRequest from "./CompletionRequest.ts"

/** Continues texts. */
export const address: AnswerAddress = {
  path: "/v1/completions",
  fromBody: CompletionRequest.fromBody,
  format: AnswerFormat.completion
}
