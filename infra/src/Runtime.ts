/** What Weft's long-running programs are started with: here, and in the scripts of package.json. */

/**
 * Bun's settings. Its collector looks at the heap each second and, where that grew, marks all of it: some 4 ms in which
 * nobody is answered (traced at 100 requests a second). Every 10 s frees as much; allocations collect by themselves.
 */
export const runtimeEnvironment: Readonly<Record<string, string>> = { BUN_GC_TIMER_INTERVAL: "10000" }
