/** `peer up`: serve models until told to stop. */
import { Command, Options } from "@effect/cli"
import { Label } from "@weft/mesh/Labels"
import { PeerAddress } from "@weft/mesh/PeerInfo"
import { Config, Effect } from "effect"
import * as App from "../App.ts"
import * as PeerConfig from "../PeerConfig.ts"

/** What the environment says of draft models; an option that may be repeated does not look there by itself. */
const draftModelsSet = Config.array(Config.nonEmptyString(), "WEFT_DRAFT_MODEL").pipe(
  Config.withDefault([]),
  Effect.orDie
)

/** Runs the peer; Ctrl-C and SIGTERM finish the running answers and leave the mesh. */
export const up = Command.make(
  "up",
  {
    address: Options.text("address").pipe(
      Options.withFallbackConfig(Config.string("WEFT_ADDRESS")),
      Options.withSchema(PeerAddress),
      Options.optional,
      Options.withDescription("HOST:PORT where other peers reach this one (default: where its packets come from)")
    ),
    baseline: Options.boolean("no-baseline").pipe(
      Options.withDescription("never measure how fast models answer with no mesh in the way"),
      Options.map((isOff) => !isOff)
    ),
    contextTokens: PeerConfig.contextTokens,
    dataDirectory: PeerConfig.dataDirectory,
    draftModels: Options.text("draft-model").pipe(
      Options.repeated,
      Options.mapEffect((given) => (given.length > 0 ? Effect.succeed(given) : draftModelsSet)),
      Options.withDescription(
        "a small GGUF file with the vocabulary of a split model, to guess ahead where this peer hosts it; " +
          "NAME=FILE for one of several models (default: those of WEFT_DRAFT_MODEL, comma-separated)"
      )
    ),
    entry: PeerConfig.entry,
    httpPort: Options.integer("http-port").pipe(
      Options.withDefault(0),
      Options.withDescription("loopback port of status and metrics (default: a free one)")
    ),
    json: PeerConfig.json,
    layers: Options.text("layers").pipe(
      Options.repeated,
      Options.withDescription(
        "lend these layers only, e.g. 0-12 for the first twelve, or NAME=0-12 with several models; once a model"
      )
    ),
    maxMemory: PeerConfig.maxMemory,
    models: PeerConfig.models,
    name: Options.text("name").pipe(
      Options.withFallbackConfig(Config.string("WEFT_NAME")),
      Options.optional,
      Options.withDescription("name that people see (default: the host name)")
    ),
    port: Options.integer("port").pipe(
      Options.withFallbackConfig(Config.integer("WEFT_MESH_PORT")),
      Options.withDefault(0),
      Options.withDescription("UDP port of the mesh (default: a free one)")
    ),
    profile: PeerConfig.profile,
    region: Options.text("region").pipe(
      Options.withFallbackConfig(Config.string("WEFT_REGION")),
      Options.withSchema(Label),
      Options.optional,
      Options.withDescription("label that requests may ask for, e.g. eu-west: where this computer stands")
    ),
    slots: PeerConfig.slots,
    speculates: Options.boolean("no-speculation").pipe(
      Options.withDescription("guess no tokens of split models ahead"),
      Options.map((isOff) => !isOff)
    ),
    split: Options.boolean("split").pipe(
      Options.withFallbackConfig(Config.boolean("WEFT_FORCE_SPLIT")),
      Options.withDescription("lend layers of every model, also of those that would fit whole")
    ),
    threads: PeerConfig.threads,
    trust: Options.text("trust").pipe(
      Options.withFallbackConfig(Config.string("WEFT_TRUST_LABEL")),
      Options.withSchema(Label),
      Options.optional,
      Options.withDescription("label that requests may ask for, e.g. staff; counts where the entry vouches for it")
    )
  },
  App.run
).pipe(Command.withDescription("serve models to the mesh until told to stop"))
