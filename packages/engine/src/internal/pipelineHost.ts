/** The host of a pipeline as a program. */
import * as Launcher from "@weft/actors/Launcher"

await Launcher.launch(new URL("./pipelineHostProgram.ts", import.meta.url))
