/** A container file as its instructions, and its build done by hand in a plain folder: there may be no runtime. */
import { cpSync, mkdirSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { infra, textOf } from "./queries.ts"

/** Absolute path of the repository. */
export const root = new URL("../", `file://${infra}`).pathname

/** Represents one instruction, its lines joined. */
export interface Instruction {
  readonly name: string
  readonly rest: string
}

/** Represents a container file; the last stage is the image. */
export interface Containerfile {
  readonly stages: ReadonlyArray<ReadonlyArray<Instruction>>
}

/** Returns the instructions of a file below `infra/containers`. */
export const read = async (file: string): Promise<Containerfile> => {
  const text = (await textOf(`containers/${file}`)).replaceAll(/^\s*#.*\n/gm, "").replaceAll("\\\n", " ")
  const all = text.split("\n").flatMap((line) => {
    const [, name, rest] = /^([A-Z]+)\s+(.+)$/.exec(line.trim()) ?? []
    return name === undefined || rest === undefined ? [] : [{ name, rest }]
  })
  const starts = all.flatMap(({ name }, index) => (name === "FROM" ? [index] : []))
  return { stages: starts.map((from, index) => all.slice(from, starts[index + 1])) }
}

/** Returns what every instruction of that name says. */
export const said = (stage: ReadonlyArray<Instruction>, name: string): ReadonlyArray<string> =>
  stage.flatMap((one) => (one.name === name ? [one.rest] : []))

/** Returns the words of an instruction in JSON's form, e.g. of ENTRYPOINT. */
export const wordsOf = (text: string): ReadonlyArray<string> => JSON.parse(text.slice(text.indexOf("[")))

/** Returns what is copied from the repository, as sources and the place they go to. */
export const copies = (stage: ReadonlyArray<Instruction>) =>
  said(stage, "COPY")
    .filter((rest) => !rest.startsWith("--from="))
    .map((rest) => {
      const words = rest.split(/\s+/)
      return { sources: words.slice(0, -1), to: words.at(-1) ?? "" }
    })

/** Does in `folder` what a build does: copies and runs, without what `.dockerignore` leaves out. */
export const build = ({ stages }: Containerfile, folder: string): void => {
  for (const stage of stages) {
    for (const { sources, to } of copies(stage)) {
      for (const source of sources) {
        const target = join(folder, to.endsWith("/") ? join(to, basename(source)) : to)
        mkdirSync(dirname(target), { recursive: true })
        cpSync(join(root, source), target, {
          recursive: true,
          filter: (path) => !/(^|\/)(node_modules|\.weft)(\/|$)/.test(path.slice(root.length))
        })
      }
    }
    for (const command of said(stage, "RUN").filter((command) => !command.includes("/var/lib/weft"))) {
      const { exitCode, stderr } = Bun.spawnSync(["sh", "-c", command], { cwd: folder })
      if (exitCode !== 0) throw new Error(`${command}\n${stderr}`)
    }
  }
}
