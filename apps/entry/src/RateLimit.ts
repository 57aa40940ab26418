/**
 * A token bucket, pure: it holds at most one minute's allowance, fills evenly, and is taken from in advance of a use
 * whose true size is settled later. https://en.wikipedia.org/wiki/Token_bucket
 */

/** Parts of one unit. One part per unit of allowance comes each millisecond, so that all arithmetic is on integers. */
export const partsPerUnit = 60_000

/** Represents an allowance of requests or tokens. */
export interface Bucket {
  /** Most that is there at once and what one minute adds; a whole number of at least 1. */
  readonly perMinute: number
  /** What was there at `atMs`; negative while a use that was larger than its estimate is paid back, ≥ −perMinute. */
  readonly parts: number
  readonly atMs: number
}

/** Represents what became of a wish to use `cost`. */
export interface Decision {
  readonly granted: boolean
  readonly bucket: Bucket
  /** Whole units that are left, ≥ 0. */
  readonly remaining: number
  /** Time until the bucket is full. */
  readonly resetMs: number
  /** Time until the same wish is granted; 0 when it was, infinite when `cost` exceeds what the bucket can hold. */
  readonly retryAfterMs: number
}

/** Represents how the limits of one request's caller stood when they were looked at last; absent: without limit. */
export interface Standing {
  requests?: Decision
  tokens?: Decision
}

/** Makes a full bucket. */
export const make = (perMinute: number, nowMs: number): Bucket => ({
  perMinute,
  parts: perMinute * partsPerUnit,
  atMs: nowMs
})

/** Takes `cost` (a whole number ≥ 0) when it is there, and nothing otherwise. */
export const take = (bucket: Bucket, cost: number, nowMs: number): Decision => {
  const filled = fill(bucket, nowMs)
  const costParts = cost * partsPerUnit
  const granted = costParts <= filled.parts
  const after = granted ? { ...filled, parts: filled.parts - costParts } : filled
  return {
    granted,
    bucket: after,
    remaining: Math.max(0, Math.floor(after.parts / partsPerUnit)),
    resetMs: msUntil(after, after.perMinute),
    retryAfterMs: granted ? 0 : cost > filled.perMinute ? Number.POSITIVE_INFINITY : msUntil(filled, cost)
  }
}

/** Replaces an estimate that was taken by what was used: gives the rest back, or takes more, even below zero. */
export const settle = (bucket: Bucket, taken: number, used: number, nowMs: number): Bucket => {
  const filled = fill(bucket, nowMs)
  const most = filled.perMinute * partsPerUnit
  return { ...filled, parts: Math.min(most, Math.max(-most, filled.parts + (taken - used) * partsPerUnit)) }
}

/** Returns a time as Go writes a duration, which clients parse `x-ratelimit-reset-*` with: `12ms`, `1.5s`, `6m0s`. */
export const goDuration = (ms: number): string => {
  const whole = Math.ceil(ms)
  if (whole <= 0) return "0s"
  if (whole < 1000) return `${whole}ms`
  const [hours, minutes, seconds] = [
    Math.floor(whole / 3_600_000),
    Math.floor(whole / 60_000) % 60,
    (whole % 60_000) / 1000
  ]
  return `${hours > 0 ? `${hours}h` : ""}${hours > 0 || minutes > 0 ? `${minutes}m` : ""}${seconds}s`
}

// internal

/** A clock that steps back adds nothing and takes nothing. */
const fill = (bucket: Bucket, nowMs: number): Bucket => {
  const elapsedMs = Math.max(0, Math.floor(nowMs - bucket.atMs))
  const parts = Math.min(bucket.perMinute * partsPerUnit, bucket.parts + elapsedMs * bucket.perMinute)
  return { ...bucket, parts, atMs: bucket.atMs + elapsedMs }
}

const msUntil = (bucket: Bucket, level: number): number =>
  Math.max(0, Math.ceil((level * partsPerUnit - bucket.parts) / bucket.perMinute))
