/** A neighbour that takes all of a processor's time until it is killed, or long after every benchmark is over. */

/** Should the benchmark die without ending this, it ends itself. */
const lifeMs = 30 * 60_000

while (performance.now() < lifeMs) {}
