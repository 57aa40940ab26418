/** The peer as a program. */
import * as Launcher from "@weft/actors/Launcher"

await Launcher.launch(new URL("./internal/program.ts", import.meta.url))
