/**
 * JSON with sorted keys: equal data gives equal text, in whatever order it was built. What JSON would change silently
 * (a Date, a Map, NaN, a function …) is refused by a TypeError that names the place, because a state that holds it is
 * another one after a restart. Properties that are `undefined` are left out, as in JSON.
 */
export function canonicalJson(value: unknown, path = 'it'): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      if (!Number.isFinite(value)) throw notJson(path, String(value))
      return String(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'undefined':
      return 'null'
    case 'object':
      if (value === null) return 'null'
      return Array.isArray(value) ? canonicalArray(value, path) : canonicalObject(value as object, path)
    default:
      throw notJson(path, `a ${typeof value}`)
  }
}

function canonicalArray(items: readonly unknown[], path: string): string {
  let text = '['
  for (let at = 0; at < items.length; at += 1) {
    if (items[at] === undefined) throw notJson(`${path}[${at}]`, 'undefined')
    text += `${at === 0 ? '' : ','}${canonicalJson(items[at], path)}`
  }
  return `${text}]`
}

function canonicalObject(object: object, path: string): string {
  const prototype = Object.getPrototypeOf(object)
  if (prototype !== Object.prototype && prototype !== null) throw notJson(path, `a ${prototype.constructor?.name}`)
  let text = ''
  for (const key of Object.keys(object).sort()) {
    const value = (object as Record<string, unknown>)[key]
    if (value !== undefined) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${canonicalJson(value, key)}`
  }
  return `{${text}}`
}

const notJson = (path: string, what: string) => new TypeError(`'${path}' holds ${what}, which JSON does not keep`)
