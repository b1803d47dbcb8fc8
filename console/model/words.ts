/** The words of a command: blanks separate them, quotes hold them together, and nothing is expanded. */
export function wordsIn(text: string): string[] {
  const words: string[] = []
  let word: string | null = null
  let quote: string | null = null
  for (const sign of text) {
    if (sign === quote) quote = null
    else if (quote !== null) word += sign
    else if (sign === '"' || sign === "'") {
      quote = sign
      word ??= ''
    } else if (/\s/.test(sign)) {
      if (word !== null) words.push(word)
      word = null
    } else word = (word ?? '') + sign
  }
  return word === null ? words : [...words, word]
}
