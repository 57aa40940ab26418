/**
 * The Jinja interpreter with a budget. A chat template comes with a model file and is a program of a stranger: here
 * it cannot loop for ever or build texts without bound. One operation may still allocate a lot (`'x' |
 * indent(2**30)`), so templates are rendered only where a dead process is started again.
 */
import { Environment, Interpreter } from "@huggingface/jinja"

/** Most characters of one value a template makes: twice the longest prompt, and marks may double that. */
export const valueCharactersMax = 16 * 1024 * 1024
/** Most elements of one list a template makes; the longest chat has 4,096 messages. */
export const listElementsMax = 65_536
/**
 * Most work of one rendering: one unit for each node evaluated, two for each turn of a loop, and one for every 64
 * characters or 8 elements of a value. A chat of 4,096 messages takes the largest known templates about a quarter of
 * this; all of it takes a few seconds.
 */
export const workMax = 2_000_000

/** Represents a refusal that the template speaks for itself, through `raise_exception`. */
export class TemplateRaised extends Error {}

/** Represents a rendering that was stopped because it went over one of the bounds above. */
export class TemplateExcess extends Error {}

type Evaluate = Interpreter["evaluate"]
type Statement = Parameters<Evaluate>[0]

/** Evaluates a template's syntax tree and stops it at the bounds of this file. */
export class BoundedInterpreter extends Interpreter {
  private work = 0
  /** What the loops go over: a list costs as it is gone over, not as it is looked at. */
  private readonly iterated = new WeakSet<object>()

  override evaluate(...[statement, environment]: Parameters<Evaluate>): ReturnType<Evaluate> {
    const over = iterable(statement)
    if (over !== undefined) this.iterated.add(over)
    const result = super.evaluate(statement, environment)
    this.work += 1 + this.cost(statement, result.value)
    if (this.work > workMax) throw new TemplateExcess("more work than a chat can need")
    return result
  }

  private cost(statement: Statement, value: unknown): number {
    if (typeof value === "string") {
      if (value.length > valueCharactersMax)
        throw new TemplateExcess(`a text of more than ${valueCharactersMax} characters`)
      return value.length >>> 6
    }
    if (!Array.isArray(value)) return 0
    if (value.length > listElementsMax) throw new TemplateExcess(`a list of more than ${listElementsMax} elements`)
    if (statement !== undefined && this.iterated.has(statement)) return value.length * 2
    return statement?.type === "Identifier" ? 0 : value.length >>> 3
  }
}

/** Returns the expression a loop goes over, without its condition; `undefined` for what is not a loop. */
const iterable = (statement: Statement): object | undefined => {
  if (statement?.type !== "For" || !("iterable" in statement)) return undefined
  const over = statement.iterable
  if (typeof over !== "object" || over === null) return undefined
  return "lhs" in over && "test" in over && typeof over.lhs === "object" && over.lhs !== null ? over.lhs : over
}

/**
 * Returns the variables that every template may use: Jinja's constants, `raise_exception`, `range` and
 * `strftime_now`. Times are UTC and names of months English, so that all peers render one chat alike at one `nowMs`.
 */
export const globals = (nowMs: number): Environment => {
  const environment = new Environment()
  for (const [name, value] of constants) environment.set(name, value)
  environment.set("raise_exception", (text: unknown) => {
    throw new TemplateRaised(String(text))
  })
  environment.set("range", range)
  environment.set("strftime_now", (format: unknown) => strftime(new Date(nowMs), String(format)))
  return environment
}

const constants = [
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null]
] as const

/** Python's `range`, refused before it is built where it is too long. */
const range = (first: number, second?: number, step = 1): ReadonlyArray<number> => {
  const start = second === undefined ? 0 : first
  const end = second === undefined ? first : second
  const length = Math.max(0, Math.ceil((end - start) / step))
  if (!(length <= listElementsMax)) throw new TemplateExcess(`a range of more than ${listElementsMax} elements`)
  return Array.from({ length }, (_, index) => start + index * step)
}

const months = "January February March April May June July August September October November December".split(" ")
const days = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ")

/** Python's `strftime` as far as chat templates use it; what it does not know stays as it is written. */
const strftime = (date: Date, format: string): string => {
  const month = months[date.getUTCMonth()] ?? ""
  const day = days[date.getUTCDay()] ?? ""
  const two = (value: number): string => String(value).padStart(2, "0")
  const values: Record<string, string> = {
    Y: String(date.getUTCFullYear()),
    y: two(date.getUTCFullYear() % 100),
    m: two(date.getUTCMonth() + 1),
    d: two(date.getUTCDate()),
    B: month,
    b: month.slice(0, 3),
    A: day,
    a: day.slice(0, 3),
    H: two(date.getUTCHours()),
    I: two(date.getUTCHours() % 12 || 12),
    M: two(date.getUTCMinutes()),
    S: two(date.getUTCSeconds()),
    p: date.getUTCHours() < 12 ? "AM" : "PM",
    "%": "%"
  }
  return format.replace(/%([A-Za-z%])/g, (whole, letter: string) => values[letter] ?? whole)
}
