/** Amounts of memory as people write them, and what fits into them. */
import { expect, test } from "bun:test"
import * as Memory from "@weft/peer/Memory"
import { Either, FastCheck } from "effect"

const bytesOf = (amount: string) => Either.getOrUndefined(Memory.parse(amount))

test("amounts are read with their unit, in either case, with or without the B", () => {
  expect(["1000000", "512MB", "512mb", "6g", "6GiB", "1.5Ki", " 2 TiB ", "0", "10B"].map(bytesOf)).toEqual([
    1_000_000,
    512e6,
    512e6,
    6e9,
    6 * 2 ** 30,
    1_536,
    2 * 2 ** 40,
    0,
    10
  ])
})

test("what is no amount is refused by name, with an example", () => {
  for (const amount of ["", "much", "6 GiB more", "-1g", "1e9", "6ib", "0x10", "1.", ".5g", "६g", "NaN", "6xb"]) {
    const refused = Either.flip(Memory.parse(amount))
    expect(Either.isRight(refused) && refused.right.message).toContain(`'${amount}'`)
    expect(Either.isRight(refused) && refused.right.message).toContain("6GiB")
  }
})

test("an amount that no machine has is refused", () => {
  for (const amount of ["9".repeat(400), "9007199254740993", "99999TiB"]) expect(bytesOf(amount)).toBeUndefined()
})

test("every amount that is read is a whole number of bytes, and larger for the larger unit", () => {
  const units = ["", "k", "ki", "m", "mi", "g", "gi", "t", "ti"]
  FastCheck.assert(
    FastCheck.property(FastCheck.integer({ min: 1, max: 4_000 }), FastCheck.nat(99), (whole, hundredths) => {
      const amount = `${whole}.${String(hundredths).padStart(2, "0")}`
      const sizes = units.map((unit) => bytesOf(`${amount}${unit}`) ?? -1)
      expect(sizes.every(Number.isSafeInteger)).toBe(true)
      expect([...sizes].sort((a, b) => a - b)).toEqual(sizes)
      expect(sizes[1]).toBe(whole * 1_000 + hundredths * 10)
    })
  )
})

test("a refusal says how much is needed and how much there is", () => {
  expect(Memory.tooLittle([10 * 2 ** 20], 10 * 2 ** 20).message).toContain("11 MiB, and 10 MiB")
})
