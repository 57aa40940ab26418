/**
 * The check of a schema as one piece of JavaScript: a function for each record and array, everything else in its place.
 * With a tree of closures instead a small request took the entry and its peer 0.06 ms more, at 100 requests a second.
 */
import { SchemaAST as AST, Option, Schema } from "effect"

/** Accepts values that the schema would give back as they are; it may refuse some of those. */
export type Check = (value: unknown) => boolean

/** Returns the check of a schema's tree; undefined where a part of it changes values or is not known here. */
export const compile = (ast: AST.AST): Check | undefined => {
  const parts: Parts = { functions: [], filters: [] }
  const accepts = expression(ast, "value", parts)
  if (accepts === undefined) return undefined
  // Nothing of it comes from outside: of the schema it holds names and literals as JSON, and finite numbers.
  const source = `"use strict"\n${parts.functions.join("\n")}\nreturn (value) => ${accepts}`
  // `source` returns a function of one value to a boolean.
  return new Function("filters", source)(parts.filters) as Check
}

// internal

/** What the source is made of besides its last line. */
interface Parts {
  /** Declarations of functions, each after those that it calls. */
  readonly functions: Array<string>
  /** Refinements that are called, as their source is not known. */
  readonly filters: Array<Check>
}

/** Returns an expression that tells whether `value`, a name, is accepted. */
const expression = (ast: AST.AST, value: string, parts: Parts): string | undefined => {
  switch (ast._tag) {
    case "StringKeyword":
      return `typeof ${value} === "string"`
    case "NumberKeyword":
      return `typeof ${value} === "number"`
    case "BooleanKeyword":
      return `typeof ${value} === "boolean"`
    case "UndefinedKeyword":
      return `${value} === undefined`
    case "Literal":
      return literal(ast, value)
    case "Refinement":
      return refinement(ast, value, parts)
    case "Union":
      return union(ast, value, parts)
    case "TupleType":
      return call(array(ast, parts), value, parts)
    case "TypeLiteral":
      return call(record(ast, parts), value, parts)
    default:
      return undefined
  }
}

const literal = ({ literal }: AST.Literal, value: string): string | undefined => {
  const isJson = typeof literal === "number" ? Number.isFinite(literal) : typeof literal !== "bigint"
  return isJson ? `${value} === ${JSON.stringify(literal)}` : undefined
}

/** Declares a function of these statements, which end it with `false` where `value` is refused, and calls it. */
const call = (statements: string | undefined, value: string, { functions }: Parts): string | undefined => {
  if (statements === undefined) return undefined
  const name = `check${functions.length}`
  functions.push(`const ${name} = (value) => {\n${statements}\n}`)
  return `${name}(${value})`
}

const refinement = (ast: AST.Refinement, value: string, parts: Parts): string | undefined => {
  const from = expression(ast.from, value, parts)
  if (from === undefined) return undefined
  const known = bound(ast, value)
  if (known !== undefined) return `${from} && ${known}`
  parts.filters.push((value) => Option.isNone(ast.filter(value, AST.defaultParseOption, ast)))
  return `${from} && filters[${parts.filters.length - 1}](${value})`
}

/** Returns Effect's own refinements as they stand in its Schema.ts; undefined for all others. */
const bound = (ast: AST.Refinement, value: string): string | undefined => {
  // The annotation is an object of JSON Schema's keywords; each is looked at before it is believed.
  const schema = Option.getOrUndefined(AST.getJSONSchemaAnnotation(ast)) as
    | Readonly<Record<string, unknown>>
    | undefined
  const compared = (operand: string, operator: string, name: string): string | undefined => {
    const limit = schema?.[name]
    return typeof limit === "number" && Number.isFinite(limit) ? `${operand} ${operator} ${limit}` : undefined
  }
  const id = Option.getOrUndefined(AST.getSchemaIdAnnotation(ast))
  switch (id) {
    case Schema.IntSchemaId:
      return `Number.isSafeInteger(${value})`
    case Schema.FiniteSchemaId:
      return `Number.isFinite(${value})`
    case Schema.BetweenSchemaId: {
      const [above, below] = [compared(value, ">=", "minimum"), compared(value, "<=", "maximum")]
      return above && below && `${above} && ${below}`
    }
    case Schema.GreaterThanSchemaId:
      return compared(value, ">", "exclusiveMinimum")
    case Schema.GreaterThanOrEqualToSchemaId:
      return compared(value, ">=", "minimum")
    case Schema.MinLengthSchemaId:
      return compared(`${value}.length`, ">=", "minLength")
    case Schema.MaxLengthSchemaId:
      return compared(`${value}.length`, "<=", "maxLength")
    case Schema.MaxItemsSchemaId:
      return compared(`${value}.length`, "<=", "maxItems")
    default:
      return undefined
  }
}

const union = ({ types }: AST.Union, value: string, parts: Parts): string | undefined => {
  // A decoder takes the first member that fits and leaves fields out which that does not name: no two may fit.
  const composite = types.filter((type) => !isScalar(type))
  if (composite.length > 1 && new Set(composite.map(tagOf)).size < composite.length) return undefined
  const members: Array<string> = []
  for (const type of types) {
    const member = expression(type, value, parts)
    if (member === undefined) return undefined
    const tag = tagOf(type)
    members.push(tag === undefined ? member : `${value}?._tag === ${JSON.stringify(tag)} && ${member}`)
  }
  return `(${members.join(" || ")})`
}

const isScalar = (ast: AST.AST): boolean =>
  ast._tag === "Refinement" ? isScalar(ast.from) : ast._tag !== "TypeLiteral" && ast._tag !== "TupleType"

/** Returns the text that tells a record from the others of its union; undefined where it has none. */
const tagOf = (ast: AST.AST): string | undefined => {
  const tag = ast._tag === "TypeLiteral" ? ast.propertySignatures.find(({ name }) => name === "_tag")?.type : undefined
  return tag?._tag === "Literal" && typeof tag.literal === "string" ? tag.literal : undefined
}

const array = ({ elements, rest }: AST.TupleType, parts: Parts): string | undefined => {
  if (rest.length > 1 || elements.some(({ isOptional }) => isOptional)) return undefined
  const [others] = rest
  const lines = [
    `if (!Array.isArray(value) || value.length ${others === undefined ? "!==" : "<"} ${elements.length}) return false`
  ]
  if (elements.length > 0) lines.push("let item")
  for (const [at, { type }] of elements.entries()) {
    const accepts = expression(type, "item", parts)
    if (accepts === undefined) return undefined
    lines.push(`item = value[${at}]`, `if (!(${accepts})) return false`)
  }
  if (others !== undefined) {
    const accepts = expression(others.type, "other", parts)
    if (accepts === undefined) return undefined
    const each = `const other = value[at]\nif (!(${accepts})) return false`
    lines.push(`for (let at = ${elements.length}; at < value.length; at++) {\n${each}\n}`)
  }
  return [...lines, "return true"].join("\n")
}

const record = ({ indexSignatures, propertySignatures }: AST.TypeLiteral, parts: Parts): string | undefined => {
  if (indexSignatures.length > 0) return undefined
  const lines = ['if (typeof value !== "object" || value === null || Array.isArray(value)) return false']
  lines.push("let field", `let known = ${propertySignatures.filter(({ isOptional }) => !isOptional).length}`)
  for (const { isOptional, name, type } of propertySignatures) {
    const accepts = typeof name === "string" ? expression(type, "field", parts) : undefined
    if (accepts === undefined) return undefined
    const refused = `if (!(${accepts})) return false`
    lines.push(`field = value[${JSON.stringify(name)}]`)
    lines.push(
      isOptional
        ? `if (field !== undefined) {\n${refused}\nknown++\n}`
        : `if (field === undefined) return false\n${refused}`
    )
  }
  // A field that the schema does not name would be left out by its decoder.
  return [...lines, "for (const _ in value) known--", "return known === 0"].join("\n")
}
