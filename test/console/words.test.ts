import { expect, test } from 'vitest'
import { wordsIn } from '../../console/model/words.ts'

test.each([
  ['', []],
  ['  htop ', ['htop']],
  ['ssh  -p 22\thost', ['ssh', '-p', '22', 'host']],
  [`sh -c 'echo "so it is"; exec sh'`, ['sh', '-c', 'echo "so it is"; exec sh']],
  [`echo "it's" a'b c'd ""`, ['echo', "it's", 'ab cd', '']],
  ['echo $HOME *', ['echo', '$HOME', '*']],
  ['echo "never closed', ['echo', 'never closed']],
])('the command %j is of the words %j', (text, words) => {
  expect(wordsIn(text)).toEqual(words)
})
