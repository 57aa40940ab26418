/** The settings of one engine: how much it holds, how much it computes at once, how long it may take. */
import { availableParallelism } from "node:os"
import { Duration, Schema } from "effect"
import { Profile } from "./Generation.ts"

/** Represents where the weights are computed; anything but `cpu` needs the matching prebuilt package of llama.cpp. */
export const Accelerator = Schema.Literal("cpu", "cuda", "vulkan", "metal")
export type Accelerator = typeof Accelerator.Type

/** Represents the settings of one engine; each has a default that suits a small shared computer. */
export const EngineConfig = Schema.Struct({
  /** The name clients ask for; the file's own name where absent. */
  modelId: Schema.optional(Schema.String.pipe(Schema.minLength(1), Schema.maxLength(256))),
  accelerator: Schema.optionalWith(Accelerator, { default: () => "cpu" as const }),
  /** Layers whose weights go to the accelerator; more than the model has means all. */
  gpuLayers: Schema.optionalWith(Schema.Int.pipe(Schema.between(0, 10_000)), { default: () => 10_000 }),
  /** Most tokens of prompt and answer in one sequence; never more than the model was trained for. */
  contextTokens: Schema.optionalWith(Schema.Int.pipe(Schema.between(16, 1_048_576)), { default: () => 4096 }),
  /** Sequences that run at once; each holds `contextTokens` cells of memory from the start. */
  slots: Schema.optionalWith(Schema.Int.pipe(Schema.between(1, 64)), { default: () => 4 }),
  /** Requests that may wait for a slot; more are refused with `overloaded`. */
  queuedMax: Schema.optionalWith(Schema.Int.pipe(Schema.between(0, 4096)), { default: () => 64 }),
  /**
   * Most threads of one host, at most all cores but one: ggml's barrier spins, so that with every core taken one busy
   * neighbour costs a time slice per barrier. Fewer are used where more are not faster. Absent: all cores but one.
   */
  threads: Schema.optional(Schema.Int.pipe(Schema.between(1, 256))),
  /**
   * Most prompt tokens computed in one decode, so that a long prompt does not hold up the answers that run; fewer
   * where more gain little. The exact profile has its own number.
   */
  prefillTokens: Schema.optionalWith(Schema.Int.pipe(Schema.between(1, 4096)), { default: () => 128 }),
  /** What requests get that do not say how exact they must be; a peer that is part of splits chooses `exact`. */
  profile: Schema.optionalWith(Profile, { default: () => "fast" as const }),
  /** How long the exact host beside a fast one stays up without a request. */
  exactIdle: Schema.optionalWith(Schema.DurationFromSelf, { default: () => Duration.minutes(5) }),
  /** The file that keeps what hosts learnt about models on this computer; absent: measured at every start. */
  calibrationPath: Schema.optional(Schema.NonEmptyString),
  /** Longest time from start to a loaded model; large files come from slow disks. */
  loadDeadline: Schema.optionalWith(Schema.DurationFromSelf, { default: () => Duration.minutes(10) }),
  /** Longest silence of a host that has work; then it is taken for stuck and started again. */
  turnDeadline: Schema.optionalWith(Schema.DurationFromSelf, { default: () => Duration.minutes(5) }),
  /**
   * Program and arguments that start a host; this Bun and Weft's own host where absent. A packed program needs it.
   */
  hostCommand: Schema.optional(Schema.NonEmptyArray(Schema.String)),
  /** Variables of the host's environment besides Weft's own (e.g. `CUDA_VISIBLE_DEVICES`); nothing is inherited. */
  environment: Schema.optionalWith(Schema.Record({ key: Schema.String, value: Schema.String }), { default: () => ({}) })
})
export type EngineConfig = typeof EngineConfig.Type

/** Returns the most threads of a host with these settings. */
export const threadsMost = ({ threads }: Pick<EngineConfig, "threads">): number =>
  threads ?? Math.max(1, availableParallelism() - 1)
