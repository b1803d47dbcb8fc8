/** What the configuration says about sessions where it says nothing. */
export const sessionDefaults = {
  scrollbackBytes: 1_048_576,
  autoUpdate: true,
  daemons: ['main'],
}

/** And about the journal. */
export const journalDefaults = { padBytes: 0 } as const
