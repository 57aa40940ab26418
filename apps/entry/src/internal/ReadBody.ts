/** A request's body as bytes, within a size and a time; native promises, as every request for an answer passes here. */

/** Represents why there is no body: more bytes than allowed, too slow, or cut. */
export type NoBody = "large" | "late" | "broken"

/**
 * Reads a body of at most `bytesMax`. What is larger is read to twice the bound and dropped, so that a client that is
 * still sending sees its answer before the connection closes. Never rejects.
 */
export const readBody = async (
  request: Request,
  declaredBytes: number | undefined,
  bytesMax: number,
  deadlineMs: number
): Promise<Uint8Array | NoBody> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  const late = new Promise<NoBody>((resolve) => {
    timer = setTimeout(() => {
      resolve("late")
      void reader?.cancel().catch(() => undefined)
    }, deadlineMs)
  })
  const read = async (): Promise<Uint8Array | NoBody> => {
    if (declaredBytes !== undefined && declaredBytes <= bytesMax) return new Uint8Array(await request.arrayBuffer())
    // the stream's chunks are bytes, which its type leaves open
    reader = request.body?.getReader() as ReadableStreamDefaultReader<Uint8Array> | undefined
    return reader === undefined ? new Uint8Array() : collect(reader, bytesMax)
  }
  const bytes = await Promise.race([read().catch((): NoBody => "broken"), late])
  clearTimeout(timer)
  return bytes
}

// internal

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
