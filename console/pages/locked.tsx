import { useSignal } from '@preact/signals'
import { enter, entry, show } from '../model/entry.ts'

/** Where there is no token, or one that is known no more. */
export function Locked() {
  const token = useSignal('')
  const isAsking = useSignal(false)
  const isWrong = useSignal(entry.value.state === 'out' && entry.value.wrong)
  const submit = async (event: Event) => {
    event.preventDefault()
    isAsking.value = true
    const opened = await show(token.value.trim())
    isAsking.value = false
    isWrong.value = !opened
    if (opened) await enter()
  }
  return (
    <main class="alone">
      <h1>Instar</h1>
      <p>
        This console is open to who has its token. <code>instar up</code> prints a link that carries it; each start
        makes a new one.
      </p>
      <form onSubmit={(event) => void submit(event)}>
        <label>
          Token
          <input
            type="password"
            autocomplete="off"
            required
            value={token.value}
            aria-invalid={isWrong.value}
            onInput={(event) => {
              token.value = event.currentTarget.value
            }}
          />
        </label>
        <button type="submit" class="primary" disabled={isAsking.value}>
          Open
        </button>
        <p class="bad-text" role="alert">
          {isWrong.value && 'This token opens nothing. Take the newest link.'}
        </p>
      </form>
    </main>
  )
}
