/** What the entry tells peers of itself at `GET /.well-known/weft`: all they need to dial it. */
import type * as Mesh from "@weft/mesh/EntryDescription"
import { Context } from "effect"

/** Gives the description of this entry; the mesh side makes it once it listens. */
export class EntryDescription extends Context.Tag("@weft/entry/EntryDescription")<
  EntryDescription,
  Mesh.EntryDescription
>() {}
