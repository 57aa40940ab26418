/** The host of a stage as a program. */
import * as Launcher from "@weft/actors/Launcher"

await Launcher.launch(new URL("./stageHostProgram.ts", import.meta.url))
