/** Names that say nothing of what a thing is. */
import { exportsOf } from "./DocRules.ts"
import { findings, isProduct, type Rule } from "./Source.ts"

const banned = new Set([
  "util",
  "utils",
  "helper",
  "helpers",
  "common",
  "misc",
  "manager",
  "managers",
  "service",
  "services"
])

/** Returns the words of a camelCase, PascalCase or dashed name, lower case. */
const wordsOf = (name: string): ReadonlyArray<string> =>
  (name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+/g) ?? []).map((word) => word.toLowerCase())

const emptyWord = (name: string): string | undefined => wordsOf(name).find((word) => banned.has(word))

const pathNames: Rule = (source) => {
  const word = source.path
    .split("/")
    .map(emptyWord)
    .find((found) => found !== undefined)
  if (word === undefined) return []
  return [findings(source, `"${word}" in the path`, "name the file after the one concept it holds")(1)]
}

const exportNames: Rule = (source) =>
  exportsOf(source).flatMap(({ name, line }) => {
    const word = emptyWord(name)
    return word === undefined
      ? []
      : [findings(source, `"${word}" in ${name}`, "name it after what it does or is")(line)]
  })

/** A command's file is called as the command is typed. */
const moduleNames: Rule = (source) => {
  const name = source.path.split("/").at(-1) ?? ""
  const isExempt =
    !isProduct(source.path) || /\/(internal|commands)\//.test(source.path) || /^(main|index)\.tsx?$/.test(name)
  const found = findings(source, `module ${name}`, "name modules in PascalCase, after the concept they hold")
  return isExempt || /^[A-Z][A-Za-z0-9]*\.tsx?$/.test(name) ? [] : [found(1)]
}

/** The rules of this file. */
export const nameRules: ReadonlyArray<Rule> = [pathNames, exportNames, moduleNames]
