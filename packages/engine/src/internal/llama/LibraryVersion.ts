/** The version of llama.cpp that everything here is made for. */

/**
 * The version whose structs `mirror.h` writes out, as the library itself says it; node-llama-cpp 3.22.1 brings it.
 */
export const libraryVersion = "0.5.0-dev"
