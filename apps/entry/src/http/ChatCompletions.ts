/** `POST /v1/chat/completions`. */
import * as AnswerFormat from "./AnswerFormat.ts"
import * as Answering from "./Answering.ts"
import * as ChatRequest from "./ChatRequest.ts"
import * as Resource from "./Resource.ts"

/** Answers chats. */
export const routes = Resource.make(
  "/v1/chat/completions",
  "POST",
  Answering.make(ChatRequest.fromBody, AnswerFormat.chat)
)
