/** The entry's key in the browser: kept in this tab alone, where the browser lets a page keep anything. */

const name = "weft-key"

/** Returns the key; empty where there is none. */
export const keptKey = (): string => {
  try {
    return sessionStorage.getItem(name) ?? ""
  } catch {
    return ""
  }
}

/** Keeps the key; an empty one is forgotten. Where nothing can be kept it lives as long as the page. */
export const keepKey = (key: string): void => {
  try {
    if (key === "") sessionStorage.removeItem(name)
    else sessionStorage.setItem(name, key)
  } catch {
    return
  }
}
