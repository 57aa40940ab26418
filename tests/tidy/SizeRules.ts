/** Bounds on files, functions and lines: what does not fit on a few screens is two things. */
import type * as ESTree from "oxc-parser"
import { Visitor } from "oxc-parser"
import { findings, isTest, type Rule } from "./Source.ts"

/** The bounds of the style guide. */
export const linesOfFileMax = 400
export const linesOfFunctionMax = 70
export const columnsMax = 120

const fileLength: Rule = (source) => {
  const count = source.lines.at(-1) === "" ? source.lines.length - 1 : source.lines.length
  const found = findings(source, `file of ${count} lines`, `split it by concept; at most ${linesOfFileMax}`)
  return count > linesOfFileMax ? [found(linesOfFileMax + 1)] : []
}

const lineLength: Rule = (source) => {
  const found = findings(source, "long line", `break it; at most ${columnsMax} columns`)
  return source.lines.flatMap((line, index) => ([...line].length > columnsMax ? [found(index + 1)] : []))
}

interface Span {
  readonly first: number
  readonly last: number
}

const size = (span: Span): number => span.last - span.first + 1

/** Returns the lines of `outer` that belong to no function inside it: a suite of tests may be long, each test not. */
const ownLines = (outer: Span, all: ReadonlyArray<Span>): number => {
  const inner = all.filter((span) => span !== outer && span.first >= outer.first && span.last <= outer.last)
  const covered = new Set(inner.flatMap((span) => Array.from({ length: size(span) }, (_, index) => span.first + index)))
  return size(outer) - covered.size
}

const functionLength: Rule = (source) => {
  const spans: Array<Span> = []
  const add = (node: ESTree.Span): void =>
    void spans.push({ first: source.lineOf(node.start), last: source.lineOf(node.end) })
  new Visitor({ FunctionDeclaration: add, FunctionExpression: add, ArrowFunctionExpression: add }).visit(source.program)
  return spans.flatMap((span) => {
    const count = isTest(source.path) ? ownLines(span, spans) : size(span)
    const mend = `give its steps names of their own; at most ${linesOfFunctionMax}`
    return count > linesOfFunctionMax ? [findings(source, `function of ${count} lines`, mend)(span.first)] : []
  })
}

/** The rules of this file. */
export const sizeRules: ReadonlyArray<Rule> = [fileLength, lineLength, functionLength]
