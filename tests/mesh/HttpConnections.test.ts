/** Which connections of a WebTransport listener stay, and which go. */
import { describe, expect } from "bun:test"
import { EventEmitter } from "node:events"
import { Effect } from "effect"
import { HttpConnections } from "../../packages/mesh/src/internal/HttpConnections.ts"
import { it } from "../support/effect.ts"

/** A socket that only tells that it was destroyed. */
class Socket extends EventEmitter {
  readonly remoteAddress = "127.0.0.1"
  isDestroyed = false
  constructor(readonly remotePort: number) {
    super()
  }
  destroy(): void {
    this.isDestroyed = true
    this.emit("close")
  }
}

const addressOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress}:${remotePort}`
const bareMs = 100
const longer = Effect.sleep(4 * bareMs)

describe("the connections of a listener", () => {
  it.live("go when they carry no session for a while, and stay as long as they carry one", () =>
    Effect.gen(function* () {
      const connections = new HttpConnections(8, bareMs)
      const [bare, carrying, left] = [new Socket(1), new Socket(2), new Socket(3)]
      for (const socket of [bare, carrying, left]) connections.accepted(socket)
      const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      connections.carries(addressOf(carrying), first.promise)
      connections.carries(addressOf(carrying), second.promise)
      connections.carries(addressOf(left), Promise.resolve())
      connections.carries("of nobody", Promise.resolve())
      yield* longer
      expect([bare, carrying, left].map(({ isDestroyed }) => isDestroyed)).toEqual([true, false, true])
      first.resolve()
      yield* longer
      expect(carrying.isDestroyed).toBe(false)
      second.resolve()
      yield* longer
      expect(carrying.isDestroyed).toBe(true)
    })
  )

  it.live("that were lost are left alone when their sessions end", () =>
    Effect.gen(function* () {
      const connections = new HttpConnections(8, bareMs)
      const lost = new Socket(1)
      connections.accepted(lost)
      const session = Promise.withResolvers<void>()
      connections.carries(addressOf(lost), session.promise)
      lost.emit("close")
      session.resolve()
      yield* longer
      expect(lost.isDestroyed).toBe(false)
    })
  )

  it.live("are refused beyond the bound, until one is gone, and all go with the listener", () =>
    Effect.sync(() => {
      const connections = new HttpConnections(2)
      const [first, second, third, fourth] = [new Socket(1), new Socket(2), new Socket(3), new Socket(4)]
      for (const socket of [first, second, third]) connections.accepted(socket)
      expect([first, second, third].map(({ isDestroyed }) => isDestroyed)).toEqual([false, false, true])
      first.emit("close")
      connections.accepted(fourth)
      expect(fourth.isDestroyed).toBe(false)
      connections.close()
      expect([second, fourth].map(({ isDestroyed }) => isDestroyed)).toEqual([true, true])
    })
  )
})
