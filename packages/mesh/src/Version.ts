/** The program's version, told in hellos, directories and metrics. */

/** Follows semantic versioning; the newest entry of CHANGELOG.md. */
export const version = "0.1.0"
