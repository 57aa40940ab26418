/** What the entry's process runs. */
import * as Program from "@weft/actors/Program"
import * as Cli from "../Cli.ts"

Program.run(Cli.make(process.argv), Cli.options)
