/** The switch between light and dark in the browser, for every page. */

/** Switches; the reader's choice is a cookie, so that the server draws the first paint in it. */
export const switchTheme = (): void => {
  const { dataset } = document.documentElement
  const isDark =
    dataset["theme"] === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : dataset["theme"] === "dark"
  dataset["theme"] = isDark ? "light" : "dark"
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is missing where the page is not on https
  document.cookie = `weft-theme=${dataset["theme"]}; path=/; max-age=31536000; samesite=lax`
}
