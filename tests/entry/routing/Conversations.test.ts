/** How long conversations are remembered. */
import { expect } from "bun:test"
import { Conversations, generationMax } from "@weft/entry/routing/Conversations"
import { Effect } from "effect"
import { peerId } from "../../mesh/peers.ts"
import { it } from "../../support/effect.ts"

it.effect("a conversation is remembered with its last peer for ten minutes", () =>
  Effect.sync(() => {
    const conversations = new Conversations()
    conversations.note(1, peerId(1), 0)
    conversations.note(1, peerId(2), 1_000)
    expect([1_000, 601_000, 601_001].map((now) => conversations.peerOf(1, now))).toEqual([
      peerId(2),
      peerId(2),
      undefined
    ])
    expect(conversations.peerOf(2, 0)).toBeUndefined()
  })
)

it.effect("of too many those that rested longest are forgotten, and those that go on are not", () =>
  Effect.sync(() => {
    const conversations = new Conversations()
    conversations.note(0, peerId(1), 0)
    conversations.note(1, peerId(1), 0)
    for (let other = 2; other < generationMax * 3; other++) {
      conversations.note(other, peerId(2), 0)
      if (other % 1_000 === 0) conversations.note(0, peerId(1), 0)
    }
    expect([conversations.peerOf(0, 0), conversations.peerOf(1, 0)]).toEqual([peerId(1), undefined])
    const last = generationMax * 3 - 1
    expect(conversations.peerOf(last - generationMax, 0)).toBe(peerId(2))
  })
)
