import type { ComponentType } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { dismiss, messages } from './model/actions.ts'
import { attention, restarts } from './model/attention.ts'
import { entry, leave } from './model/entry.ts'
import { follow, hello, link, status } from './model/live.ts'
import { roleText, visitorNow } from './model/permissions.ts'
import { linkTo, route } from './model/route.ts'
import { Apps } from './pages/apps.tsx'
import { Charts } from './pages/charts.tsx'
import { Journal } from './pages/journal.tsx'
import { Locked } from './pages/locked.tsx'
import { Overview } from './pages/overview.tsx'
import { Plugins } from './pages/plugins.tsx'
import { Runtimes } from './pages/runtimes.tsx'
import { Terminals } from './pages/terminals.tsx'
import { Loading } from './view/parts.tsx'

const pages: Readonly<Record<string, readonly [title: string, page: ComponentType]>> = {
  overview: ['Overview', Overview],
  charts: ['Statecharts', Charts],
  journal: ['Journal', Journal],
  runtime: ['Runtime', Runtimes],
  plugins: ['Plugins', Plugins],
  apps: ['Apps', Apps],
  terminals: ['Terminals', Terminals],
}

follow()

export function Page() {
  const { state } = entry.value
  if (state === 'out') return <Locked />
  if (state === 'entering')
    return (
      <main class="alone">
        <Loading what="the console" />
      </main>
    )
  return <Inside />
}

function Inside() {
  const [title, Current] = pages[route.value.page] ?? pages.overview!
  const main = useRef<HTMLElement>(null)
  const isFirst = useRef(true)
  useEffect(() => {
    document.title = `${title} · Instar`
    // Who came here by the keyboard goes on at the new page, not behind the link to it.
    if (!isFirst.current) main.current?.focus()
    isFirst.current = false
  }, [title])
  return (
    <>
      <Head onSkip={() => main.current?.focus()} />
      <nav aria-label="Pages">
        <ul>
          {Object.entries(pages).map(([name, [text]]) => (
            <li key={name}>
              <a href={linkTo(name)} aria-current={text === title ? 'page' : undefined}>
                {text}
                {name === 'overview' && attention.value.length > 0 && (
                  <span class="count">
                    {attention.value.length}
                    <span class="unseen"> to look at</span>
                  </span>
                )}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <main ref={main} tabIndex={-1} class={title.toLowerCase()} aria-labelledby="page-title">
        <h1 id="page-title">{title}</h1>
        <LinkState />
        {status.value === null ? <Loading what="what goes on" /> : <Current />}
      </main>
      <Messages />
    </>
  )
}

function Head({ onSkip }: { onSkip(): void }) {
  const visitor = visitorNow()
  return (
    <header class="head">
      <button type="button" class="skip" onClick={onSkip}>
        Skip to the page
      </button>
      <span class="brand">
        <img src={icon} alt="" width="22" height="22" /> Instar
      </span>
      {hello.value && (
        <span class="quiet where" title={hello.value.home}>
          {hello.value.version} · {hello.value.home}
        </span>
      )}
      <span class="spacer" />
      {restarts.value.length > 0 && (
        <a
          class="badge warn"
          href={linkTo('overview')}
          title={restarts.value.map(({ what, why }) => `${what} ${why}`).join('\n')}
        >
          Restart needed
        </a>
      )}
      <span class={`link-dot ${link.value}`}>
        {{ live: 'Live', lost: 'Offline', connecting: 'Connecting' }[link.value]}
      </span>
      {visitor && visitor.role !== 'owner' && <span class="badge">{roleText(visitor)}</span>}
      <button type="button" class="quiet-button" onClick={() => void leave()}>
        Lock
      </button>
    </header>
  )
}

const icon = new URL('./icon.svg', import.meta.url).href

/** Where the connection has gone: what is shown is the last that was known, and comes back by itself. */
function LinkState() {
  return (
    <div aria-live="polite">
      {link.value === 'lost' && (
        <p class="banner warn">
          The controller does not answer. This is what was last known; the page goes on by itself as soon as it is back.
          Terminals and what was launched go on without it.
        </p>
      )}
    </div>
  )
}

function Messages() {
  return (
    <section class="messages" aria-label="Messages" aria-live="polite">
      {messages.value.map(({ id, kind, text, hint }) => (
        <div key={id} class={`message ${kind}`}>
          <div>
            <p>{text}</p>
            {hint && <p class="quiet">{hint}</p>}
          </div>
          <button type="button" class="quiet-button" aria-label="Dismiss this message" onClick={() => dismiss(id)}>
            ✕
          </button>
        </div>
      ))}
    </section>
  )
}
