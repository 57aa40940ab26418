/** What a reader meets first: a header per file, a sentence per export. */
import type * as ESTree from "oxc-parser"
import { findings, isProduct, type Rule, type Source } from "./Source.ts"

/** Longest header in lines of text. */
const headerLinesMax = 6

const header: Rule = (source) => {
  const first = source.comments[0]
  const before = first === undefined ? "none" : source.text.slice(0, first.start).replace(/^#!.*\n/, "")
  const found = findings(source, "no header", "begin with a comment: what this is, who owns it, what flows in and out")
  if (first === undefined || before.trim() !== "" || !first.value.startsWith("*")) return [found(1)]
  const count = first.value.split("\n").filter((line) => /[^\s*]/.test(line)).length
  const long = findings(source, `header of ${count} lines`, `say it in ${headerLinesMax}, details where they belong`)
  return count > headerLinesMax ? [long(1)] : []
}

const declaredNames = (node: ESTree.Statement | ESTree.Declaration | null): ReadonlyArray<string> => {
  switch (node?.type) {
    case "VariableDeclaration":
      return node.declarations.flatMap(({ id }) => (id.type === "Identifier" ? [id.name] : []))
    case "FunctionDeclaration":
    case "ClassDeclaration":
    case "TSDeclareFunction":
    case "TSInterfaceDeclaration":
    case "TSTypeAliasDeclaration":
    case "TSEnumDeclaration":
      return node.id === null ? [] : [node.id.name]
    case "TSModuleDeclaration":
      return node.id.type === "Identifier" ? [node.id.name] : []
    default:
      return []
  }
}

/** Returns the names that statements of the top level declare, with their place and whether a doc comment precedes. */
const declarations = (source: Source) =>
  source.program.body.flatMap((statement) => {
    const inner = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement
    const isDocumented = source.comments.some(
      ({ type, value, start, end }) =>
        type === "Block" &&
        value.startsWith("*") &&
        /\w/.test(value) &&
        start < statement.start &&
        source.text.slice(end, statement.start).trim() === ""
    )
    const isExported = inner !== statement
    return declaredNames(inner).map((name) => ({ name, isDocumented, isExported, start: statement.start }))
  })

/** Returns the names a file exports, as they are called inside it, with the line of the export. */
export const exportsOf = (source: Source): ReadonlyArray<{ readonly name: string; readonly line: number }> => [
  ...declarations(source).flatMap(({ name, isExported, start }) =>
    isExported ? [{ name, line: source.lineOf(start) }] : []
  ),
  ...source.program.body.flatMap((statement) =>
    statement.type === "ExportNamedDeclaration" && statement.source === null
      ? statement.specifiers.flatMap(({ local, start }) =>
          local.type === "Identifier" ? [{ name: local.name, line: source.lineOf(start) }] : []
        )
      : []
  )
]

/** A type may share its sentence with the value of the same name. */
const exportDocs: Rule = (source) => {
  if (!isProduct(source.path)) return []
  const documented = new Set(declarations(source).flatMap(({ name, isDocumented }) => (isDocumented ? [name] : [])))
  return exportsOf(source)
    .filter(({ name }) => !documented.has(name))
    .map(({ name, line }) =>
      findings(
        source,
        `export ${name} without a sentence`,
        "say above it what its type cannot: units, bounds, errors"
      )(line)
    )
}

/** The rules of this file. */
export const docRules: ReadonlyArray<Rule> = [header, exportDocs]
