/** What the environment of every process with a model in it holds, the benchmarks' included. */
export const hostEnvironment: Readonly<Record<string, string>> = {
  // Weights and cells come to rest in huge pages, where Linux leaves that to programs. A token reads every weight once:
  // with pages of 4 KiB its way through the page tables is a tenth of its time (0.29 B, Q4_K_M, one thread).
  GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
  // A backtrace forks a debugger and takes seconds; the assertion itself is printed anyway.
  GGML_NO_BACKTRACE: "1",
  // Bun sends reports of crashes to its makers unless told not to.
  DO_NOT_TRACK: "1"
}
