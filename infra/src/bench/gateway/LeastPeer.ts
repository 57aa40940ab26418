/**
 * Behind the least gateway, in a process of its own: gives the same bytes back for every request, over raw QUIC streams
 * and without any code of the mesh. Told the sizes and the bytes over IPC, answers with its address.
 */
import { serve } from "../Programs.ts"
import * as RawQuic from "./RawQuic.ts"

/** Represents what to answer: `body` for every `requestBytes` bytes that come. */
export interface LeastAnswer {
  readonly requestBytes: number
  readonly body: string
}

serve(({ body, requestBytes }: LeastAnswer): Promise<string> => {
  const reply = new TextEncoder().encode(body)
  return RawQuic.listen((write) => {
    let due = 0
    return (bytes) => {
      due += bytes.length
      for (; due >= requestBytes; due -= requestBytes) write(reply)
    }
  })
})
