/**
 * Imported by `Program.ts` before anything else, for its effect alone: msgpackr then reads strangers' bytes in
 * JavaScript and leaves its native addon (msgpackr-extract) unloaded, since native code has no place in a process that
 * has keys and connections. The addon decodes long texts; for Weft's messages both take the same time.
 */
process.env["MSGPACKR_NATIVE_ACCELERATION_DISABLED"] = "true"
