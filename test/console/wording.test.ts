import { expect, test } from 'vitest'
import { reasonText, sentences } from '../../console/model/wording.ts'

test('what there is of reason and hint is said in sentences', () => {
  expect(sentences()).toBe('')
  const hint = 'Choose one that it has.'
  expect(sentences('the registry has none [VERSION_NOT_FOUND]', hint)).toBe(
    'the registry has none [VERSION_NOT_FOUND]. Choose one that it has.',
  )
  expect(sentences('the disk is full', '', undefined, 'Free some space.')).toBe('the disk is full. Free some space.')
  expect(sentences('is it there?', false, 'look')).toBe('is it there? look.')
})

test('a reason stands before its code, and either may be missing', () => {
  expect(reasonText({ reason: 'too young', code: 'RELEASE_TOO_YOUNG' })).toBe('too young [RELEASE_TOO_YOUNG]')
  expect(reasonText({ code: 'ABORTED' })).toBe('[ABORTED]')
  expect(reasonText({ reason: 'too young' })).toBe('too young')
  expect(reasonText({})).toBe('')
})
