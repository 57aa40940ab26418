/** Places where the compiler or the linter is told to look away: none without a reason in words. */
import type * as ESTree from "oxc-parser"
import { Visitor } from "oxc-parser"
import { type Finding, findings, isProduct, type Rule, type Source } from "./Source.ts"

const looseTypes: Rule = (source) => {
  const found: Array<Finding> = []
  const add = (node: ESTree.Span, what: string, mend: string): void =>
    void found.push(findings(source, what, mend)(source.lineOf(node.start)))
  new Visitor({
    TSAnyKeyword: (node) => add(node, "any", "name the type, or take `unknown` and decode it with Schema"),
    TSNonNullExpression: (node) => add(node, "non-null !", "test for undefined, or use a type that cannot be")
  }).visit(source.program)
  return found
}

/** Tells whether a comment stands on one of the lines or on the one above them. */
const hasComment = (source: Source, first: number, last: number): boolean =>
  source.comments.some(({ start, end }) => source.lineOf(end) >= first - 1 && source.lineOf(start) <= last)

const casts: Rule = (source) => {
  if (!isProduct(source.path)) return []
  const lines = new Set<number>()
  new Visitor({
    TSAsExpression: (node) => {
      const isConst = source.text.slice(node.typeAnnotation.start, node.typeAnnotation.end) === "const"
      const line = source.lineOf(node.start)
      if (!isConst && !hasComment(source, line, source.lineOf(node.end))) lines.add(line)
    }
  }).visit(source.program)
  return [...lines].map(findings(source, "cast without a reason", "say why on the line or above it, or avoid it"))
}

/** Each directive that silences a tool, with what it must look like to pass. */
const directives = [
  { pattern: /@ts-(ignore|nocheck)/, passes: /$^/, mend: "mend the type error" },
  { pattern: /@ts-expect-error/, passes: /@ts-expect-error\s+\S.{9,}/, mend: "say why in a sentence after it" },
  { pattern: /biome-ignore/, passes: /biome-ignore(-all|-start|-end)? \S+: \S.{9,}/, mend: "say why in a sentence" }
] as const

const silencers: Rule = (source) =>
  source.comments.flatMap((comment) =>
    directives
      .filter(({ pattern, passes }) => pattern.test(comment.value) && !passes.test(comment.value))
      .map(({ pattern, mend }) =>
        findings(source, pattern.exec(comment.value)?.[0] ?? "", mend)(source.lineOf(comment.start))
      )
  )

/** Words that mark unfinished work; they pass in prose, not in comments of code. */
const leftovers: Rule = (source) =>
  source.comments
    .filter(({ value }) => /\b(TODO|FIXME|XXX)\b/.test(value))
    .map(({ start }) =>
      findings(source, "unfinished work", "finish it, or write it into the tracker")(source.lineOf(start))
    )

/** The rules of this file. */
export const typeRules: ReadonlyArray<Rule> = [looseTypes, casts, silencers, leftovers]
