/**
 * Calls that go round Effect: time, chance, environment, logs and failures must pass through it, so that tests can
 * steer them. Free are `main.ts`, adapters in a folder named `internal/`, infra and tests.
 */
import type * as ESTree from "oxc-parser"
import { Visitor } from "oxc-parser"
import { type Finding, findings, isProduct, isTest, type Rule } from "./Source.ts"

const isFree = (path: string): boolean =>
  !isProduct(path) || path.includes("/internal/") || path.endsWith("/src/main.ts")

/** What stands in for each banned call; the key is the callee as it is written, `globalThis.` aside. */
const bannedCalls: Readonly<Record<string, string>> = {
  "Date.now": "take `now` as an argument, or use Clock",
  "Math.random": "use Random",
  setTimeout: "use Effect.sleep, Effect.timeout or a Schedule",
  setInterval: "use Effect.repeat with a Schedule"
}

/** What stands in for each banned member, written `object.property`. */
const bannedMembers: Readonly<Record<string, string>> = {
  "process.env": "use Config, read once when the layer is built",
  "Bun.env": "use Config, read once when the layer is built",
  "import.meta.env": "use Config, read once when the layer is built"
}

const nameOf = (node: ESTree.Node): string =>
  node.type === "Identifier" ? node.name : node.type === "MemberExpression" ? nameOf(node.property) : ""

/** Tells whether the call is `catchAll(() => Effect.void)` or the same of causes. */
const swallows = (call: ESTree.CallExpression, text: string): boolean => {
  const [handler] = call.arguments
  if (!/^catchAll(Cause)?$/.test(nameOf(call.callee)) || handler?.type !== "ArrowFunctionExpression") return false
  return text.slice(handler.body.start, handler.body.end) === "Effect.void"
}

const directEffects: Rule = (source) => {
  if (isFree(source.path)) return []
  const found: Array<Finding> = []
  const add = (node: ESTree.Span, what: string, mend: string): void =>
    void found.push(findings(source, what, `${mend}; or keep it in main.ts or internal/`)(source.lineOf(node.start)))
  const textOf = (node: ESTree.Span): string => source.text.slice(node.start, node.end).replace(/^globalThis\./, "")
  const asyncFunction = (node: ESTree.Function | ESTree.ArrowFunctionExpression): void =>
    node.async ? add(node, "async function", "use Effect.gen or Effect.fn") : undefined
  new Visitor({
    FunctionDeclaration: asyncFunction,
    FunctionExpression: asyncFunction,
    ArrowFunctionExpression: asyncFunction,
    TryStatement: (node) => add(node, "try", "use Effect.try or Either.try"),
    NewExpression: (node) => {
      if (textOf(node.callee) === "Date" && node.arguments.length === 0)
        add(node, "new Date()", "use Clock or DateTime")
    },
    MemberExpression: (node) => {
      const mend = bannedMembers[textOf(node)]
      if (mend !== undefined) add(node, textOf(node), mend)
      if (textOf(node.object) === "console") add(node, textOf(node), "use Effect.log and its levels")
      if (nameOf(node) === "forkDaemon") add(node, "forkDaemon", "use forkScoped, FiberMap or FiberSet")
    },
    CallExpression: (node) => {
      const mend = bannedCalls[textOf(node.callee)]
      if (mend !== undefined) add(node, textOf(node.callee), mend)
      if (swallows(node, source.text)) add(node, "swallowed failure", "catch by tag and say why nothing is to be done")
    }
  }).visit(source.program)
  return found
}

/** A run of all tests must be one: nothing left out, nothing singled out. */
const partialRuns: Rule = (source) => {
  if (!isTest(source.path)) return []
  const found: Array<Finding> = []
  new Visitor({
    CallExpression: ({ callee }) => {
      const text = source.text.slice(callee.start, callee.end)
      const match = /^(?:test|it|describe)\b[\w.]*\.(only|skip|todo)$/.exec(text)
      if (match === null) return
      found.push(findings(source, `.${match[1]}(`, "run it, mend it or delete it")(source.lineOf(callee.start)))
    }
  }).visit(source.program)
  return found
}

/** The rules of this file. */
export const callRules: ReadonlyArray<Rule> = [directEffects, partialRuns]
