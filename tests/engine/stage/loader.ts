/**
 * A child process that loads GGUF files with llama.cpp and opens a context on each, as a stage host does: what it dies
 * of does not end the test. Prints the tokens of each vocabulary; exits with 0 where all could be opened.
 */
import { cc } from "bun:ffi"
import { join } from "node:path"
import * as Libraries from "../../../packages/engine/src/internal/llama/Libraries.ts"

const directory = Libraries.find("cpu")
Libraries.open(directory)
const { symbols } = cc({
  source: join(import.meta.dir, "../../../packages/engine/src/internal/llama/shim.c"),
  symbols: {
    library_start: { args: ["ptr"], returns: "void" },
    model_open: { args: ["ptr", "i32", "bool", "ptr"], returns: "ptr" },
    engine_open: { args: ["ptr", "i32", "i32", "i32", "i32", "i32"], returns: "ptr" },
    engine_vocabulary: { args: ["ptr"], returns: "i32" }
  }
})
symbols.library_start(Buffer.from(`${directory}\0`))
for (const path of process.argv.slice(2)) {
  const model = symbols.model_open(Buffer.from(`${path}\0`), 0, false, null)
  if (model === null) process.exit(1)
  // 256 tokens for one sequence, 64 rows, one thread, cells of q8_0.
  const engine = symbols.engine_open(model, 256, 1, 64, 1, 8)
  if (engine === null) process.exit(2)
  console.log(symbols.engine_vocabulary(engine))
}
process.exit(0)
