/**
 * A child process that loads one GGUF file with llama.cpp and opens a context on it, as a stage host will: what
 * llama.cpp dies of does not end the test. Exits with 0 where it could, with what llama.cpp printed on standard error.
 */
import { cc } from "bun:ffi"
import { join } from "node:path"
import * as Libraries from "../../../packages/engine/src/internal/llama/Libraries.ts"

const [path = ""] = process.argv.slice(2)
const folder = join(import.meta.dir, "../../../packages/engine/src/internal/llama")
const directory = Libraries.find("cpu")
Libraries.open(directory)
const { symbols } = cc({
  source: join(folder, "shim.c"),
  symbols: {
    library_start: { args: ["ptr"], returns: "void" },
    model_open: { args: ["ptr", "i32", "bool", "ptr"], returns: "ptr" },
    engine_open: { args: ["ptr", "i32", "i32", "i32", "i32", "i32"], returns: "ptr" },
    engine_vocabulary: { args: ["ptr"], returns: "i32" }
  }
})
symbols.library_start(Buffer.from(`${directory}\0`))
const model = symbols.model_open(Buffer.from(`${path}\0`), 0, false, null)
if (model === null) process.exit(1)
// 256 tokens for one sequence, 64 rows, one thread, cells of q8_0.
const engine = symbols.engine_open(model, 256, 1, 64, 1, 8)
if (engine === null) process.exit(2)
console.log(symbols.engine_vocabulary(engine))
// Bun unloads libraries at a normal exit while their threads live.
process.exit(0)
