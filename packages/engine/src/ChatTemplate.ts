/**
 * Renders a chat into the text a model was trained on, by the Jinja template of its file. The text comes out in
 * pieces: the template's own control tokens apart from all else, so that a control token's text typed by a user stays
 * text.  How: in every message a mark is put behind each character that could begin a control token, the template
 * runs on the marked messages, control tokens are looked for in its output (a marked one does not match), and the
 * marks are taken out. Text that the template itself looks for (`'</think>' in content`) is left unmarked, unless it
 * is a control token. The mark is one private-use character that neither the chat nor the template holds. What
 * remains possible is only what a template does by itself: to write a control token of its own in place of, or
 * around, a user's text.
 */
import { type Environment, parse, tokenize } from "@huggingface/jinja"
import { Clock, Data, Effect } from "effect"
import { BoundedInterpreter, globals, TemplateExcess, TemplateRaised } from "./ChatTemplateInterpreter.ts"
import type { ChatMessage } from "./Generation.ts"

/** Most characters of a template; the longest known ones, with tools in several languages, have about 20,000. */
export const templateCharactersMax = 256 * 1024
/** Most characters of a template's complaint that a client is shown. */
const complaintCharactersMax = 512

/** The template of models that bring none: ChatML. */
export const fallbackTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/** Represents one piece of a rendered chat, never empty; no two neighbours are of one kind. */
export interface TemplatePiece {
  readonly text: string
  /**
   * True: one or more control tokens, to be parsed as such. False: plain text, in which no control token is parsed.
   */
  readonly special: boolean
}

/** Represents the texts of a model's tokens that its template deals in. */
export interface TemplateTokens {
  /** Empty where the model has none. */
  readonly bosToken: string
  /** Empty where the model has none. */
  readonly eosToken: string
  /** Every token that plain text must not produce. */
  readonly controlTokens: ReadonlyArray<string>
}

/** Represents why a chat could not be rendered. */
export class TemplateError extends Data.TaggedError("TemplateError")<{
  /**
   * `Raised`: the template refuses this chat, which is the client's to change. All others are the template's fault.
   */
  readonly reason: "Raised" | "TooLarge" | "Syntax" | "Failed" | "Excess" | "Unmarkable"
  readonly detail: string
}> {
  override get message(): string {
    switch (this.reason) {
      case "Raised":
        return `The model's chat template refuses these messages: ${this.detail}`
      case "TooLarge":
        return `The model's chat template is too large (${this.detail}). Use a model file with a smaller one.`
      case "Syntax":
        return `The model's chat template cannot be read (${this.detail}). Use another model file.`
      case "Failed":
        return `The model's chat template failed on these messages (${this.detail}). Use /v1/completions.`
      case "Excess":
        return `The model's chat template was stopped: it makes ${this.detail}. Send a shorter chat.`
      case "Unmarkable":
        return `The messages cannot be told from the template: ${this.detail}. Send fewer private-use characters.`
    }
  }
}

/** Represents a template that is ready to render. */
export interface ChatTemplate {
  /** Returns the chat's pieces in order; joined they are what the template makes of these messages. */
  readonly render: (
    messages: ReadonlyArray<ChatMessage>,
    options: { readonly addGenerationPrompt: boolean }
  ) => Effect.Effect<ReadonlyArray<TemplatePiece>, TemplateError>
}

/**
 * Returns the template of `source`, or of ChatML where a model brings none. Compiling and rendering run in the
 * caller's thread, bounded in steps and sizes but not in seconds: call it where a watchdog looks on.
 */
export const compile = Effect.fn("ChatTemplate.compile")(function* (
  source: string | undefined,
  tokens: TemplateTokens
) {
  const template = source ?? fallbackTemplate
  if (template.length > templateCharactersMax)
    return yield* new TemplateError({ reason: "TooLarge", detail: `${template.length} characters` })
  const lexed = yield* guarded(() => tokenize(template, { lstrip_blocks: true, trim_blocks: true }), "Syntax")
  const program = yield* guarded(() => parse(lexed), "Syntax")
  const literals = lexed.filter((token) => token.type === "StringLiteral").map((token) => token.value)
  const control = controlTokens(tokens)
  const mark = marker(control, literals)

  const render: ChatTemplate["render"] = Effect.fn("ChatTemplate.render")(function* (messages, options) {
    const sign = freeSign([template, ...control.all, ...messages.map((message) => message.content)])
    if (sign === undefined)
      return yield* new TemplateError({ reason: "Unmarkable", detail: "they hold every private-use character" })
    const nowMs = yield* Clock.currentTimeMillis
    const marked = messages.map(({ role, content }) => ({ role, content: mark(content, sign.text) }))
    const variables = {
      messages: marked,
      add_generation_prompt: options.addGenerationPrompt,
      bos_token: tokens.bosToken,
      eos_token: tokens.eosToken,
      tools: null,
      documents: null
    }
    const output = yield* guarded(() => run(program, globals(nowMs), variables), "Failed")
    return pieces(output.replaceAll(sign.escaped, sign.text), sign.text, control)
  })

  return { render } satisfies ChatTemplate
})

/** Runs what may throw: the interpreter, and JavaScript itself where a template nests or grows too far. */
const guarded = <A>(evaluate: () => A, reason: "Syntax" | "Failed"): Effect.Effect<A, TemplateError> =>
  Effect.try({
    try: evaluate,
    catch: (error) => {
      const detail = (error instanceof Error ? error.message : String(error)).slice(0, complaintCharactersMax)
      if (error instanceof TemplateRaised) return new TemplateError({ reason: "Raised", detail })
      if (error instanceof TemplateExcess) return new TemplateError({ reason: "Excess", detail })
      return new TemplateError({ reason, detail })
    }
  })

const run = (
  program: ReturnType<typeof parse>,
  environment: Environment,
  variables: Readonly<Record<string, unknown>>
): string => {
  for (const [name, value] of Object.entries(variables)) environment.set(name, value)
  return String(new BoundedInterpreter(environment).run(program).value)
}

interface ControlTokens {
  readonly all: ReadonlyArray<string>
  /** Matches each character that begins a control token; `undefined` where there is no control token. */
  readonly begins: RegExp | undefined
  /** Returns the longest control token that begins at `at`. */
  readonly at: (text: string, at: number) => string | undefined
}

/** Characters by which control tokens are indexed: enough to part most of them, few enough to be quick. */
const indexCharacters = 3

const controlTokens = (tokens: TemplateTokens): ControlTokens => {
  const all = [...new Set([tokens.bosToken, tokens.eosToken, ...tokens.controlTokens])].filter(
    (text) => text.length > 0
  )
  const byPrefix = new Map<string, Array<string>>()
  for (const token of all.toSorted((a, b) => b.length - a.length)) {
    const prefix = token.slice(0, indexCharacters)
    const same = byPrefix.get(prefix)
    if (same === undefined) byPrefix.set(prefix, [token])
    else same.push(token)
  }
  const firsts = [...new Set(all.map((token) => escape(token.slice(0, 1))))].join("")
  return {
    all,
    begins: all.length === 0 ? undefined : new RegExp(`[${firsts}]`, "g"),
    at: (text, at) => {
      for (let length = indexCharacters; length > 0; length--) {
        const found = byPrefix.get(text.slice(at, at + length))?.find((token) => text.startsWith(token, at))
        if (found !== undefined) return found
      }
      return undefined
    }
  }
}

/** Returns `text` with every code unit written as `\uXXXX`, which a regular expression reads as itself. */
const escape = (text: string): string =>
  Array.from({ length: text.length }, (_, index) => `\\u${text.charCodeAt(index).toString(16).padStart(4, "0")}`).join(
    ""
  )

/** Shortest literal of a template that is left unmarked: shorter ones are parts of control tokens (`<`, `</`). */
const literalCharactersMin = 3
/**
 * Most literals that are left unmarked, the longest first, and most characters of each; known templates have ≤ 60.
 */
const literalsMax = 128
const literalCharactersMax = 256

/** Returns the function that puts `sign` behind every character of a message that could begin a control token. */
const marker = (control: ControlTokens, literals: ReadonlyArray<string>) => {
  const begins = control.begins
  if (begins === undefined) return (content: string) => content
  const known = [...new Set(literals)]
    .filter((text) => text.length >= literalCharactersMin && text.length <= literalCharactersMax)
    .filter((text) => text.search(begins) !== -1)
    .toSorted((a, b) => b.length - a.length)
    .slice(0, literalsMax)
  const pattern = new RegExp([...known.map(escape), begins.source].join("|"), "g")
  return (content: string, sign: string): string =>
    content.replace(pattern, (match: string, at: number) =>
      match.length === 1
        ? match + sign
        : match.replace(begins, (first: string, inner: number) =>
            control.at(content, at + inner) === undefined ? first : first + sign
          )
    )
}

/** Returns a private-use character that none of `texts` holds, nor its JSON escape, and that escape. */
const freeSign = (texts: ReadonlyArray<string>): { readonly text: string; readonly escaped: string } | undefined => {
  for (let unit = 0xe000; unit <= 0xf8ff; unit++) {
    const text = String.fromCharCode(unit)
    const escaped = `\\u${unit.toString(16)}`
    if (!texts.some((one) => one.includes(text) || one.includes(escaped))) return { text, escaped }
  }
  return undefined
}

/** Returns `output` cut at its unmarked control tokens, without the marks. */
const pieces = (output: string, sign: string, control: ControlTokens): ReadonlyArray<TemplatePiece> => {
  const found: Array<{ text: string; special: boolean }> = []
  const add = (text: string, special: boolean): void => {
    if (text.length === 0) return
    const last = found.at(-1)
    if (last !== undefined && last.special === special) last.text += text
    else found.push({ text, special })
  }
  let plainFrom = 0
  for (const { index } of control.begins === undefined ? [] : output.matchAll(control.begins)) {
    if (index < plainFrom || output.startsWith(sign, index + 1)) continue
    const token = control.at(output, index)
    if (token === undefined) continue
    add(output.slice(plainFrom, index).replaceAll(sign, ""), false)
    add(token, true)
    plainFrom = index + token.length
  }
  add(output.slice(plainFrom).replaceAll(sign, ""), false)
  return found
}
