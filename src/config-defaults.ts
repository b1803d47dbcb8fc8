/** What the configuration says about sessions where it says nothing. */
export const sessionDefaults = {
  scrollbackBytes: 1_048_576,
  autoUpdate: true,
  daemons: ['main'],
}

/** About plugins. */
export const pluginDefaults = {
  targets: {},
  subscriptions: {},
  engines: {},
  check: { firstAfterMs: 60_000, everyMs: 1_800_000 },
  policy: { signatures: 'prefer', keep: 2 },
} as const

/** About apps. */
export const appDefaults = {
  capabilities: [] as string[],
  handshakeTimeoutMs: 30_000,
  drainMs: 30_000,
  callWaitMs: 60_000,
  policy: { parallel: 4, rollbackWhenFailed: 0.5, signatures: 'prefer', keep: 2 },
} as const

/** About the HTTP server. */
export const consoleDefaults = { port: 0 } as const

/** And about the journal. */
export const journalDefaults = { padBytes: 0 } as const
