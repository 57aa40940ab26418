/** Whose budget a request takes from: the address it came from, as far as that can be known. Pure. */

/**
 * Returns the address that a budget is kept for. `forwardedFor` is the header of that name where the operator trusts
 * the proxy in front: its last element is what that proxy saw, all before it are the client's own words. IPv6 addresses
 * count by their network of 64 bits, as that is what one subscriber has.
 */
export const clientAddress = (socketAddress: string | undefined, forwardedFor: string | undefined): string => {
  const seenByProxy = forwardedFor?.split(",").at(-1)?.trim() ?? ""
  const address = isAddress.test(seenByProxy) ? seenByProxy : (socketAddress ?? "")
  const mapped = address.match(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/i)?.[1]
  if (mapped !== undefined) return mapped
  return address.includes(":") ? network(address.toLowerCase()) : address || unknown
}

// internal

/** All clients whose address nobody knows share one budget. */
const unknown = "unknown"

const isAddress = /^[0-9a-f:.]{2,45}$/i

/** Returns the first four groups of an IPv6 address, with what `::` leaves out. */
const network = (address: string): string => {
  const [front = "", back] = address.split("%", 1).join("").split("::")
  const head = front === "" ? [] : front.split(":")
  const tail = back === undefined || back === "" ? [] : back.split(":")
  const missing = back === undefined ? 0 : Math.max(0, 8 - head.length - tail.length)
  const groups = [...head, ...Array<string>(missing).fill("0"), ...tail]
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`
}
