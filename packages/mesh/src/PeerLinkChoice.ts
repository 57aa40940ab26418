/** Which of several links with one peer both sides use, and which may go. Pure. */
import type { Link } from "./Link.ts"
import type { PeerId } from "./PeerId.ts"

/** Represents a link that is up, and what it is used for. */
export interface HeldLink {
  readonly link: Link
  /** Those who hold it, and streams that the other side opened. */
  uses: number
  /** Rises with each end of a use in this process. */
  unusedSince: number
}

/**
 * Returns the link to use with `peer`. Where both dialled at once, both sides take the one that the lower id dialled,
 * so that what one opens meets the other's; nothing new begins on the other, which closes for want of use.
 */
export const preferred = (self: PeerId, held: ReadonlyArray<HeldLink>, peer: PeerId): HeldLink | undefined => {
  const lowerDials = self < peer ? "dialled" : "accepted"
  const links = held
    .filter(({ link }) => link.peer === peer)
    .toSorted((one, other) => other.link.number - one.link.number)
  return links.find(({ link }) => link.session.direction === lowerDials) ?? links[0]
}

/** Returns the link that was used longest ago among those that nobody uses. */
export const idle = (held: ReadonlyArray<HeldLink>): HeldLink | undefined =>
  held
    .filter(({ uses }) => uses === 0)
    .reduce<HeldLink | undefined>(
      (oldest, one) => (oldest === undefined || one.unusedSince < oldest.unusedSince ? one : oldest),
      undefined
    )
