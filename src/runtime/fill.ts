import { InstarError } from '../errors.ts'

/**
 * Puts `values` in place of `${name}`.
 *
 * @throws {InstarError} `CONFIG_INVALID` for a name without a value: a runtime started with half of its arguments would
 * fail in a way that nobody connects with the configuration.
 */
export function fill(template: string, values: Readonly<Record<string, string | number | undefined>>): string {
  return template.replace(/\$\{([^}]*)\}/g, (whole, name: string) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined
    if (value === undefined)
      throw new InstarError('CONFIG_INVALID', `nothing is known to fill in for ${whole} in "${template}"`, {
        details: { placeholder: name, known: Object.keys(values) },
      })
    return String(value)
  })
}
