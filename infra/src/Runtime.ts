/** What Weft's long-running programs are started with: by package.json's scripts, as services, and in containers. */

/** Bun's settings. */
export const runtimeEnvironment: Readonly<Record<string, string>> = {
  // The collector looks at the heap each second and, where that grew, marks all of it: some 4 ms in which nobody is
  // answered (traced at 100 requests a second). Every 10 s frees as much; allocations collect by themselves.
  BUN_GC_TIMER_INTERVAL: "10000",
  // The allocator looks up to ten times a second for pages to give back: 3 to 6 of the 14 to 17 ms of a processor that
  // an entry takes per second while nobody asks. Every 10 s gives back as much.
  MIMALLOC_PURGE_HOLES_MIN_INTERVAL: "10000"
}
