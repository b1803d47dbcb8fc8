import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import { pending } from '../model/actions.ts'

interface ActionProps {
  /** By which others know what is under way, so that no two buttons begin the same. */
  readonly action: string
  /** Why it may not be done. Said beside the button, where it can be read without trying. */
  readonly refusal?: string | null
  /** It is under way, whoever asked for it. */
  readonly busy?: boolean
  readonly disabled?: boolean
  readonly kind?: 'primary' | 'danger' | 'plain'
  /** What it does, where the words on it do not say enough without the things around them. */
  readonly label?: string
  readonly children: ComponentChildren
  onAct(): void
}

/** A button that has something done. Once pressed it is disabled until there is an answer. */
export function ActionButton({ action, refusal = null, busy = false, disabled = false, ...props }: ActionProps) {
  const { kind = 'plain', label, children, onAct } = props
  const why = useId()
  const isBusy = busy || pending.value.has(action)
  return (
    <span class="action">
      <button
        type="button"
        class={kind}
        disabled={isBusy || disabled || refusal !== null}
        aria-busy={isBusy}
        aria-label={label}
        aria-describedby={refusal === null ? undefined : why}
        onClick={onAct}
      >
        {isBusy && <span class="spinner" aria-hidden="true" />}
        {children}
      </button>
      {refusal !== null && (
        <span id={why} class="why-not">
          {refusal}
        </span>
      )}
    </span>
  )
}
