/** What Weft's long-running programs are started with: by package.json's scripts, as services, and in containers. */

/** Bun's settings. */
export const runtimeEnvironment: Readonly<Record<string, string>> = {
  // The collector looks at the heap each second and, where that grew, marks all of it: 10 to 20 ms, in parts, in which
  // nobody is answered. Every minute frees as much; allocations collect by themselves.
  BUN_GC_TIMER_INTERVAL: "60000",
  // It also looks at what is new whenever that would take less than 5 % of a processor. A look takes an entry 3 to 9 ms
  // however little is new, as it goes over all code that ever ran: 2,000 requests at 100 a second met 8 of them, and at
  // most 3 with a share this small (of a processor, per new MiB; BUN_JSC_logGC=1 tells).
  BUN_JSC_percentCPUPerMBForEdenTimer: "0.0001",
  // The allocator looks up to ten times a second for pages to give back: 3 to 6 of the 14 to 17 ms of a processor that
  // an entry takes per second while nobody asks. Every 10 s gives back as much.
  MIMALLOC_PURGE_HOLES_MIN_INTERVAL: "10000"
}
