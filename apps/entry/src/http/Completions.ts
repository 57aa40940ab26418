/** `POST /v1/completions`. */
import * as AnswerFormat from "./AnswerFormat.ts"
import * as Answering from "./Answering.ts"
import * as CompletionRequest from "./CompletionRequest.ts"
import * as Resource from "./Resource.ts"

/** Continues texts. */
export const routes = Resource.make(
  "/v1/completions",
  "POST",
  Answering.make(CompletionRequest.fromBody, AnswerFormat.completion)
)
