/** The engine host as a program. */
import * as Launcher from "@weft/actors/Launcher"

await Launcher.launch(new URL("./hostProgram.ts", import.meta.url))
