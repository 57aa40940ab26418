/**
 * Which slot a request takes, as a pure decision: the cells of finished answers stay in their slots until these are
 * needed, and a request that begins with the same tokens need not compute them again.
 */

/** Represents a slot as the choice sees it. */
export interface SlotCells {
  /** Tokens whose cells it holds, in order; the first `cells` count. */
  readonly tokens: Int32Array
  /** Cells that may be used again. */
  readonly cells: number
  /** No answer holds it. */
  readonly idle: boolean
  /** Rises with each use. */
  readonly usedAt: number
}

/** Represents what is known of a request and of the cost of cells. */
export interface SlotRequest {
  readonly tokens: Int32Array
  /** Tokens whose cells may be taken from a slot: at least one is left to compute, as a token is drawn from it. */
  readonly reusable: number
  /** Cells are of use in multiples of this. */
  readonly grain: number
  /** Tokens that a copy must save over none: it moves a whole slot, whatever part of it is of use. */
  readonly copySavesMin: number
}

/** Represents the slot a request takes and the cells that it finds there. */
export interface SlotChoice {
  readonly slot: number
  readonly kept: number
  /** The slot whose cells are copied to it first. */
  readonly copiedFrom: number | undefined
}

/**
 * Returns the idle slot to take; none where all run. It is the one with the longest common beginning, unless that is
 * the lesser part of what the slot holds: then another conversation would be lost for it, so that its beginning, or
 * that of a slot that runs, is copied to the slot that was idle for longest, where the copy pays.
 */
export const choose = (request: SlotRequest, slots: ReadonlyArray<SlotCells>): SlotChoice | undefined => {
  const places = slots.map((slot, index) => ({ ...slot, index, kept: usable(request, slot) }))
  const idle = places.filter((place) => place.idle)
  const [oldest] = idle.toSorted((a, b) => a.usedAt - b.usedAt)
  if (oldest === undefined) return undefined
  const continued = idle.filter(({ cells, kept }) => kept * 2 >= cells)
  const own = best([oldest, ...continued]) ?? oldest
  const shared = best(places) ?? own
  if (shared.index === oldest.index || shared.kept < own.kept + request.copySavesMin) {
    return { slot: own.index, kept: own.kept, copiedFrom: undefined }
  }
  return { slot: oldest.index, kept: shared.kept, copiedFrom: shared.index }
}

// internal

interface Place extends SlotCells {
  readonly index: number
  readonly kept: number
}

/** Returns the place with the longest common beginning, the least recently used of several. */
const best = (places: ReadonlyArray<Place>): Place | undefined =>
  places.toSorted((a, b) => b.kept - a.kept || a.usedAt - b.usedAt)[0]

const usable = ({ grain, reusable, tokens }: SlotRequest, slot: SlotCells): number => {
  const most = Math.min(reusable, slot.cells)
  let common = 0
  while (common < most && tokens[common] === slot.tokens[common]) common++
  return common - (common % grain)
}
