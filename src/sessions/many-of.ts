import * as z from 'zod'

/**
 * An array of what `schema` describes, for messages that are read while everything stands still. Items that `isUsual`
 * recognizes are believed without the schema, which takes 10 µs and more for each; all others go through it, and what
 * is refused is refused by it. So `isUsual` must accept nothing that the schema does not.
 */
export function manyOf<Item>(
  schema: z.ZodType<Item>,
  max: number,
  isUsual: (item: unknown) => boolean,
): z.ZodType<Item[]> {
  const items = z
    .array(z.unknown())
    .max(max)
    .check(({ value, issues }) => {
      for (const [at, item] of value.entries()) {
        if (isUsual(item)) continue
        const { error } = schema.safeParse(item)
        for (const { path, ...issue } of error?.issues ?? []) issues.push({ ...issue, path: [at, ...path] } as never)
      }
    })
  return items as unknown as z.ZodType<Item[]>
}

/** Whether a value is an object with so many fields; which ones, its caller knows once it has looked at each. */
export function hasFields(value: unknown, count: number): value is Record<string, unknown> {
  return isRecord(value) && Object.keys(value).length === count
}

export function isInteger(value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
