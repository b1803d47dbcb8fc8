import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { ActionButton } from './button.tsx'

interface ConfirmProps {
  readonly action: string
  readonly refusal?: string | null
  readonly busy?: boolean
  readonly disabled?: boolean
  /** On the button that opens it. */
  readonly title: string
  /** What it is about, for the button's full name. */
  readonly label?: string
  /** What will be, in a sentence. */
  readonly question: ComponentChildren
  /** On the button that does it. */
  readonly answer: string
  readonly danger?: boolean
  /** What is asked for besides, such as a note. */
  readonly field?: { readonly name: string; readonly placeholder?: string; readonly required?: boolean }
  onConfirm(text: string): void
}

/** What changes a lot is asked for twice, and can take a word along. A dialog of the browser's own: Escape closes it. */
export function Confirm({ title, label, question, answer, danger = false, field, onConfirm, ...props }: ConfirmProps) {
  const isOpen = useSignal(false)
  const text = useSignal('')
  const dialog = useRef<HTMLDialogElement>(null)
  const name = useId()
  useEffect(() => {
    if (isOpen.value) dialog.current?.showModal()
  }, [isOpen.value])
  const close = () => dialog.current?.close()
  const submit = (event: Event) => {
    event.preventDefault()
    close()
    onConfirm(text.value.trim())
    text.value = ''
  }
  return (
    <>
      <ActionButton
        {...props}
        label={label}
        onAct={() => {
          isOpen.value = true
        }}
      >
        {title}
      </ActionButton>
      {isOpen.value && (
        <dialog
          ref={dialog}
          aria-labelledby={name}
          onClose={() => {
            isOpen.value = false
          }}
        >
          <form onSubmit={submit}>
            <p id={name}>{question}</p>
            {field && (
              <label>
                {field.name}
                <input
                  value={text.value}
                  placeholder={field.placeholder}
                  required={field.required}
                  maxLength={1000}
                  onInput={(event) => {
                    text.value = event.currentTarget.value
                  }}
                />
              </label>
            )}
            <div class="actions">
              <button type="button" onClick={close}>
                Not now
              </button>
              <button type="submit" class={danger ? 'danger' : 'primary'}>
                {answer}
              </button>
            </div>
          </form>
        </dialog>
      )}
    </>
  )
}
