/** All rules of the style guide that a program can judge, and how their findings read. */
import { callRules } from "./CallRules.ts"
import { docRules } from "./DocRules.ts"
import { graphRules } from "./GraphRules.ts"
import { manifestRules } from "./ManifestRules.ts"
import { nameRules } from "./NameRules.ts"
import { sizeRules } from "./SizeRules.ts"
import type { Finding } from "./Source.ts"
import { textRules } from "./TextRules.ts"
import type { Tree } from "./Tree.ts"
import { typeRules } from "./TypeRules.ts"

const fileRules = [...sizeRules, ...callRules, ...typeRules, ...docRules, ...nameRules]
const treeRules = [...graphRules, ...manifestRules, ...textRules]

/** Returns every breach in the tree. */
export const judge = (tree: Tree): ReadonlyArray<Finding> => [
  ...[...tree.sources.values()].flatMap((source) => fileRules.flatMap((rule) => rule(source))),
  ...treeRules.flatMap((rule) => rule(tree))
]

/** Returns a finding as one line: where, what, and how to mend it. */
export const render = ({ path, line, rule, mend }: Finding): string => `${path}:${line} ${rule} — ${mend}`
