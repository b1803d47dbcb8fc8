import type { ComponentChildren } from 'preact'
import type { Failed } from '../model/contract.ts'

type Tone = 'good' | 'bad' | 'live' | 'warn' | 'plain'

export function Badge({ tone = 'plain', children }: { readonly tone?: Tone; readonly children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>
}

/** What to do where there is nothing to see. */
export function Empty({ title, children }: { readonly title: string; readonly children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  )
}

export function Loading({ what }: { readonly what: string }) {
  return (
    <p class="loading" role="status">
      <span class="spinner" aria-hidden="true" /> Loading {what} …
    </p>
  )
}

export function Failure({ what, failure }: { readonly what: string; readonly failure: Failed }) {
  return (
    <div class="failure" role="alert">
      <p>
        <strong>{what}</strong> {failure.message}
        {failure.code && <code> {failure.code}</code>}
      </p>
      {failure.hint && <p>{failure.hint}</p>}
    </div>
  )
}

/** A page's parts that its visitor's role may not see. */
export function NotForRole({ what }: { readonly what: string }) {
  return (
    <Empty title={`${what} are not shown to your role`}>
      <p>The owner of this home and organisation admins see them.</p>
    </Empty>
  )
}

export function Card({
  title,
  aside,
  children,
  id,
}: {
  readonly title: ComponentChildren
  readonly aside?: ComponentChildren
  readonly children: ComponentChildren
  readonly id?: string
}) {
  return (
    <section class="card" id={id}>
      <header>
        <h2>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  )
}

/** Names and what belongs to them. What is undefined is left out. */
export function Facts({ facts }: { readonly facts: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== undefined && value !== null && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  )
}

/** What may be wider than the page, and is moved sideways then, also with the keyboard. */
export function Sideways({ label, children }: { readonly label: string; readonly children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: else only a pointer could move it
    <section class="scroll" tabIndex={0} aria-label={label}>
      {children}
    </section>
  )
}
