/** Text of a model in blocks: prose, and code between fences, as Markdown has them. Pure; all of it stays text. */

/** Represents a part of a text. */
export interface Block {
  readonly kind: "prose" | "code"
  /** Without the lines of the fences. */
  readonly text: string
  /** What the fence says its code is; empty where it says nothing. */
  readonly language: string
}

/** Returns the blocks; a fence that is not closed yet reaches to the end. Empty prose between blocks is left out. */
export const blocksOf = (text: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let lines: Array<string> = []
  let fence: { readonly mark: string; readonly language: string } | undefined
  const end = (): void => {
    const kind = fence === undefined ? "prose" : "code"
    if (kind === "code" || lines.some((line) => line.trim() !== "")) {
      blocks.push({ kind, text: lines.join("\n"), language: fence?.language ?? "" })
    }
    lines = []
  }
  for (const line of text.split("\n")) {
    const [, mark = "", rest = ""] = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line) ?? []
    const opens = fence === undefined && mark !== "" && !(mark.startsWith("`") && rest.includes("`"))
    const closes = fence !== undefined && mark.startsWith(fence.mark) && rest.trim() === ""
    if (opens || closes) {
      end()
      fence = opens ? { mark, language: rest.trim() } : undefined
    } else lines.push(line)
  }
  if (fence !== undefined || lines.length > 0) end()
  return blocks
}
