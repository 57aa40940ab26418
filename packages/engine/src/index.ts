/** The engine: model files, prompts, answers, and the process that makes them. */
export * as ChatTemplate from "./ChatTemplate.ts"
export * as Engine from "./Engine.ts"
export * as EngineConfig from "./EngineConfig.ts"
export * as EngineError from "./EngineError.ts"
export * as EngineMetrics from "./EngineMetrics.ts"
export * as EngineSupervisor from "./EngineSupervisor.ts"
export * as Generation from "./Generation.ts"
export * as ModelFile from "./ModelFile.ts"
