/** One source file as the tidy rules see it: its text, its syntax tree, its comments and what it refers to. */
import type * as ESTree from "oxc-parser"
import { type Comment, parseSync, Visitor } from "oxc-parser"

/** Represents one breach of a rule; `mend` says what to do about it. */
export interface Finding {
  readonly path: string
  /** From 1. */
  readonly line: number
  readonly rule: string
  readonly mend: string
}

/** Represents a file that a source names: an `import` in any form, or a `mention` in a string (child processes). */
export interface Reference {
  readonly kind: "import" | "mention"
  readonly specifier: string
  readonly line: number
}

/** Represents one parsed file; `path` is relative to the repository's root, with `/`. */
export interface Source {
  readonly path: string
  readonly text: string
  readonly lines: ReadonlyArray<string>
  readonly program: ESTree.Program
  readonly comments: ReadonlyArray<Comment>
  readonly references: ReadonlyArray<Reference>
  /** Returns the line of a character's offset, from 1. */
  readonly lineOf: (offset: number) => number
}

/** Represents a check of one file on its own. */
export type Rule = (source: Source) => ReadonlyArray<Finding>

const referencesOf = (program: ESTree.Program, lineOf: (offset: number) => number): ReadonlyArray<Reference> => {
  const found: Array<Reference> = []
  const add = (kind: Reference["kind"], specifier: unknown, { start }: ESTree.Span): void => {
    if (typeof specifier === "string") found.push({ kind, specifier, line: lineOf(start) })
  }
  const addSource = ({ source }: { readonly source: ESTree.Expression | null }): void => {
    if (source?.type === "Literal") add("import", source.value, source)
  }
  const mention = (text: unknown, node: ESTree.Span): void => {
    if (typeof text === "string" && /\.(tsx?|m?js|html)$/.test(text)) add("mention", text.replace(/^\//, ""), node)
  }
  new Visitor({
    ImportDeclaration: addSource,
    ExportNamedDeclaration: addSource,
    ExportAllDeclaration: addSource,
    ImportExpression: addSource,
    TSImportType: addSource,
    Literal: (node) => mention(node.value, node),
    TemplateElement: (node) => mention(node.value.cooked, node)
  }).visit(program)
  return found
}

/** Returns the parsed file; throws where it is no TypeScript, as then no rule can judge it. */
export const parse = (path: string, text: string): Source => {
  const { program, comments, errors } = parseSync(path, text)
  if (errors[0] !== undefined) throw new Error(`${path}: ${errors[0].message}`)
  const lines = text.split("\n")
  const starts: Array<number> = []
  let offset = 0
  for (const line of lines) {
    starts.push(offset)
    offset += line.length + 1
  }
  const lineOf = (at: number): number => starts.findLastIndex((start) => start <= at) + 1
  return { path, text, lines, program, comments, references: referencesOf(program, lineOf), lineOf }
}

/** Returns a maker of findings for one rule of one file. */
export const findings =
  (source: Source, rule: string, mend: string) =>
  (line: number): Finding => ({ path: source.path, line, rule, mend })

/** Tells whether a file is part of the product: the strictest rules hold for these alone. */
export const isProduct = (path: string): boolean => /^(packages|apps)\/[^/]+\/src\//.test(path)

/** Tells whether a file is a test or supports tests. */
export const isTest = (path: string): boolean => path.startsWith("tests/")
