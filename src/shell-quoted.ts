/** A word between single quotes, where a POSIX shell reads nothing but the end of them. */
export const shellQuoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`
