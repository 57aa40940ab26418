/** `POST /v1/chat/completions`. */
import * as AnswerFormat from "./AnswerFormat.ts"
import type { AnswerAddress } from "./Answering.ts"
import * as ChatRequest from "./ChatRequest.ts"

/** Answers chats. */
export const address: AnswerAddress = {
  path: "/v1/chat/completions",
  fromBody: ChatRequest.fromBody,
  format: AnswerFormat.chat
}
