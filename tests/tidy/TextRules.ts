/** What no text of the repository may hold, whatever its language. */
import type { Finding } from "./Source.ts"
import type { TreeRule } from "./Tree.ts"

/** Folders of one machine or person; they mean nothing on another. */
const machinePath = /(?<![\w.$}-])\/(?:root|work|tmp|home)\/\w/

/** Container files and units of systemd describe a machine of their own. */
const describesMachine = (path: string): boolean => path.startsWith("infra/") && !/\.(tsx?|m?js|md)$/.test(path)

const machinePaths: TreeRule = ({ files }) =>
  [...files].flatMap(([path, text]): ReadonlyArray<Finding> => {
    if (describesMachine(path)) return []
    const mend = "use a relative path, os.tmpdir() or a setting"
    return text
      .split("\n")
      .flatMap((line, index) => (machinePath.test(line) ? [{ path, line: index + 1, rule: "machine path", mend }] : []))
  })

/** The rules of this file. */
export const textRules: ReadonlyArray<TreeRule> = [machinePaths]
