/** The draw at the end of a sampler chain: it follows the model's distribution, and only seed and place decide. */
import { expect, test } from "bun:test"
import { touchy } from "@weft/infra/bench/model/Shape"
import type { Llama } from "../../packages/engine/src/internal/llama/Llama.ts"
import type { Sampler } from "../../packages/engine/src/internal/llama/LlamaSampler.ts"
import { greedy } from "./asking.ts"
import { openLlama } from "./looping.ts"

/** Biases that leave three tokens, whatever the model says: e^0, e^1 and e^2 of all. */
const weights = [1, Math.E, Math.E ** 2]
const draws = 20_000

const open = async (): Promise<Llama> => {
  const llama = await openLlama({ contextTokens: 64, slots: 1, prefillTokens: 16, profile: "fast", shape: touchy })
  llama.rows.token[0] = 1
  llama.rows.wanted[0] = 1
  expect(llama.decode(1)).toBe(0)
  return llama
}

/** Draws again and again from the one row there is. */
const draw = (sampler: Sampler, count: number) => Array.from({ length: count }, () => sampler.draw(0))

test("draws follow the probabilities, places are independent, a seed kept as a double is the same", async () => {
  const llama = await open()
  // Two tokens drawn at a temperature so high that the model has no say, three by their biases.
  const biases = weights.map((weight, index) => [300 + index, 50 + Math.log(weight) * 2] as const)
  const sampling = { ...greedy, temperature: 2, logitBias: [...biases] }
  const sampler = llama.openSampler(sampling, 7, [1])
  const drawn = draw(sampler, draws)
  const counts = weights.map((_, index) => drawn.filter((token) => token === 300 + index).length)
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(draws)
  // The model's own logits move each share; what they are is read from a second seed's draws.
  const others = draw(llama.openSampler(sampling, 0xffff_fff1, [1]), draws)
  for (const [index, count] of counts.entries()) {
    const other = others.filter((token) => token === 300 + index).length
    expect(Math.abs(count - other)).toBeLessThan(6 * Math.sqrt(draws / 4) * Math.SQRT2)
  }
  const [small = 0, middle = 0, large = 0] = counts
  expect(small < middle && middle < large).toBe(true)
  // Neighbouring places: the same token twice in a row as often as independence says.
  const twice = drawn.filter((token, index) => token === drawn[index + 1]).length / draws
  const expected = counts.reduce((sum, count) => sum + (count / draws) ** 2, 0)
  expect(Math.abs(twice - expected)).toBeLessThan(0.03)
  const [kept = 0] = new Float64Array([7])
  expect(draw(llama.openSampler(sampling, kept, [1]), 100)).toEqual(drawn.slice(0, 100))
  llama.close()
})

test("a place draws the same whatever was drawn before it", async () => {
  const llama = await open()
  const sampling = { ...greedy, temperature: 1.5 }
  const whole = draw(llama.openSampler(sampling, 9, [1]), 50)
  const late = llama.openSampler(sampling, 9, [1])
  for (let place = 0; place < 20; place++) late.accept(500)
  expect(draw(late, 30)).toEqual(whole.slice(20))
  llama.close()
})
