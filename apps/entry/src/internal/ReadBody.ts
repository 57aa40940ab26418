/** A request's body as bytes, within a size; native promises, as every request for an answer passes here. */

/** Represents why there is no body: more bytes than allowed, or cut. */
export type NoBody = "large" | "broken"

/** Represents a body on its way. */
export interface BodyRead {
  /** Never rejects. */
  readonly bytes: Promise<Uint8Array | NoBody>
  /** Stops reading where that is possible; `bytes` may then stay unsettled. */
  readonly cancel: () => void
}

/**
 * Reads a body of at most `bytesMax`. What is larger is read to twice the bound and dropped, so that a client that is
 * still sending sees its answer before the connection closes.
 */
export const readBody = (request: Request, declaredBytes: number | undefined, bytesMax: number): BodyRead => {
  if (declaredBytes !== undefined && declaredBytes <= bytesMax) {
    return { bytes: request.bytes().catch(toBroken), cancel: () => undefined }
  }
  // the stream's chunks are bytes, which its type leaves open
  const reader = request.body?.getReader() as ReadableStreamDefaultReader<Uint8Array> | undefined
  if (reader === undefined) return { bytes: Promise.resolve(new Uint8Array()), cancel: () => undefined }
  return {
    bytes: collect(reader, bytesMax).catch(toBroken),
    cancel: () => void reader.cancel().catch(() => undefined)
  }
}

// internal

const toBroken = (): NoBody => "broken"

const collect = async (
  reader: ReadableStreamDefaultReader<Uint8Array>,
  bytesMax: number
): Promise<Uint8Array | NoBody> => {
  const chunks: Array<Uint8Array> = []
  let sizeBytes = 0
  while (sizeBytes <= 2 * bytesMax) {
    const { value, done } = await reader.read()
    if (done) return sizeBytes > bytesMax ? "large" : Buffer.concat(chunks)
    sizeBytes += value.length
    if (sizeBytes <= bytesMax) chunks.push(value)
  }
  await reader.cancel()
  return "large"
}
