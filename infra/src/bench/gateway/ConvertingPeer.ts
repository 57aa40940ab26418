/**
 * Behind the converting gateway, in a process of its own: reads each request and writes the same events. Told them over
 * IPC, answers with its address.
 */
import type { GenerateEvent } from "@weft/engine/Generation"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import { serve } from "../Programs.ts"
import * as FrameValues from "./FrameValues.ts"
import * as RawQuic from "./RawQuic.ts"

serve(
  (events: ReadonlyArray<GenerateEvent>): Promise<string> =>
    RawQuic.listen((write) => FrameValues.reader(() => write(concat(events.map(Frames.frame)))))
)
