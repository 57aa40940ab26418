/**
 * Walks MessagePack bytes without building anything, so that what follows may trust their shape: one value and no more,
 * bounded nesting and container count, lengths that fit, string keys, no extension types. Linear in the bytes.
 */

/** Deepest nesting of arrays and maps: JSON Schemas of tools reach about 20. */
const depthMax = 32

/** Most arrays and maps in one frame: an empty one takes 1 byte on the wire and tens of bytes in memory. */
const containersMax = 16_384

/** Lengths of the fixed-size types 0xc0…0xd3, payload only; −1 = not fixed or not allowed. */
const fixedBytes = [0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8] as const

class Walker {
  #at = 0
  #containers = 0
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Walks the whole array as one value; returns what is wrong with it. */
  walk(): string | undefined {
    // Values still to come per level; in a map every second one is a key.
    const left: Array<number> = [1]
    const maps: Array<boolean> = [false]
    while (left.length > 0) {
      const level = left.length - 1
      const remaining = left[level] ?? 0
      if (remaining === 0) {
        left.pop()
        maps.pop()
        continue
      }
      left[level] = remaining - 1
      if (this.#left < 1) return "it is cut short"
      const type = this.#view.getUint8(this.#at++)
      const isKey = maps[level] === true && remaining % 2 === 0
      const container = this.#container(type)
      if (container === undefined) {
        const wrong = isKey && !isString(type) ? "a map key is not a string" : this.#skip(type)
        if (wrong !== undefined) return wrong
        continue
      }
      if (isKey) return "a map key is not a string"
      if (container.count > this.#left) return "a length exceeds the frame"
      if (left.length > depthMax) return `nested deeper than ${depthMax}`
      if (++this.#containers > containersMax) return `more than ${containersMax} arrays and maps`
      left.push(container.count)
      maps.push(container.isMap)
    }
    return this.#left === 0 ? undefined : "bytes follow the value"
  }

  get #left(): number {
    return this.#view.byteLength - this.#at
  }

  /** Returns the values that follow an array or map, `undefined` for any other type; a short length reads as too long. */
  #container(type: number): { readonly count: number; readonly isMap: boolean } | undefined {
    if (type >= 0x80 && type <= 0x8f) return { count: (type & 0x0f) * 2, isMap: true }
    if (type >= 0x90 && type <= 0x9f) return { count: type & 0x0f, isMap: false }
    if (type === 0xdc || type === 0xdd) return { count: this.#length(type === 0xdc ? 2 : 4), isMap: false }
    if (type === 0xde || type === 0xdf) return { count: this.#length(type === 0xde ? 2 : 4) * 2, isMap: true }
    return undefined
  }

  #skip(type: number): string | undefined {
    if (type <= 0x7f || type >= 0xe0) return undefined
    if (type >= 0xa0 && type <= 0xbf) return this.#advance(type & 0x1f)
    if (type >= 0xc4 && type <= 0xc6) return this.#advance(this.#length(2 ** (type - 0xc4)))
    if (type >= 0xd9 && type <= 0xdb) return this.#advance(this.#length(2 ** (type - 0xd9)))
    const bytes = fixedBytes[type - 0xc0] ?? -1
    return bytes < 0 ? `type 0x${type.toString(16)} is not allowed` : this.#advance(bytes)
  }

  #advance(bytes: number): string | undefined {
    if (bytes > this.#left) return "a length exceeds the frame"
    this.#at += bytes
    return undefined
  }

  #length(bytes: number): number {
    if (bytes > this.#left) return Number.POSITIVE_INFINITY
    const at = this.#at
    this.#at += bytes
    if (bytes === 1) return this.#view.getUint8(at)
    return bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at)
  }
}

const isString = (type: number): boolean => (type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb)

/** Returns what is wrong with the bytes as one MessagePack value, `undefined` when nothing is. */
export const describeInvalid = (bytes: Uint8Array): string | undefined => new Walker(bytes).walk()
