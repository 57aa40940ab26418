/** What a mesh without peers shows: the one command that adds the first. */

/** Represents where peers find the entry, and what copies. */
export interface EmptyMeshProps {
  readonly origin: string
  readonly copy?: (text: string) => void
}

/** Shows the command. */
export const EmptyMesh = ({ copy, origin }: EmptyMeshProps) => {
  const command = `bun run peer up --entry ${origin} --model FILE.gguf`
  return (
    <section class="empty" aria-labelledby="first-peer">
      <h2 id="first-peer">Add the first peer</h2>
      <p>On a machine that has a model, in a checkout of Weft:</p>
      <div class="command">
        <code>{command}</code>
        <button type="button" disabled={copy === undefined} onClick={() => copy?.(command)}>
          Copy
        </button>
      </div>
      <p class="soft">It appears here a second after it is ready. Nothing has to be opened on its router.</p>
    </section>
  )
}
