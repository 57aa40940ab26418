/** The clipboard in the browser, for every page. */

/** Copies text; does nothing where the browser has no clipboard for the page, as it is without https. */
export const copy = (text: string): void => void navigator.clipboard?.writeText(text)
