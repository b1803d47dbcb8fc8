/**
 * One error class and one table of codes. A code survives JSON, sockets and versions where `instanceof` does not; it is
 * never renamed or reused. `retry` says whether calling again without a change can help; `exit` is the command line's
 * exit code for it (1 where absent).
 */
interface CodeEntry {
  readonly retry: boolean
  readonly hint: string
  readonly exit?: number
}

export const codes = {
  // ---- wrong input
  USAGE: { retry: false, exit: 2, hint: 'Run the command with --help to see what it takes.' },
  CONFIG_INVALID: { retry: false, exit: 2, hint: 'Correct the configuration at the place named.' },
  CONFIG_UNREADABLE: { retry: false, exit: 2, hint: 'Check that the file exists, can be read and holds JSON.' },
  RUNTIME_UNKNOWN: {
    retry: false,
    exit: 2,
    hint: 'Name a runtime from the configuration; `instar runtime list` shows them.',
  },
  VERSION_INVALID: { retry: false, exit: 2, hint: 'Give an exact version such as 1.2.3.' },
  // ---- the home
  HOME_UNUSABLE: {
    retry: false,
    hint: 'Choose another home with --home, or make this one a directory that you own and can write.',
  },
  HOME_FOREIGN: {
    retry: false,
    hint: 'The directory holds other files. Choose an empty or new directory with --home.',
  },
  HOME_NEWER: { retry: false, hint: 'A newer Instar wrote this home. Use that version, or another home.' },
  HOME_OBSERVED: { retry: false, hint: 'Open it without `observe` to have something done.' },
  HOME_LOCKED: { retry: true, hint: 'Use the running controller, or stop it first.' },
  // ---- packages: the registry and what it serves. `retry` here also says who failed: true, the world; false, the artefact.
  PACKAGE_NAME_INVALID: { retry: false, exit: 2, hint: 'Give a name as npm writes it, such as thing or @scope/thing.' },
  CHANNEL_INVALID: { retry: false, exit: 2, hint: 'Give a dist-tag, a semver range or an exact version.' },
  REGISTRY_UNREACHABLE: { retry: true, hint: 'Check the network, the proxy and the registry URL.' },
  REGISTRY_TIMEOUT: {
    retry: true,
    exit: 6,
    hint: 'The registry did not finish in time. Try again, or raise the limit.',
  },
  REGISTRY_TOO_SLOW: {
    retry: true,
    exit: 6,
    hint: 'The answer came slower than the minimum rate. Try again on a better network.',
  },
  REGISTRY_STATUS: { retry: true, hint: 'The registry refused or failed. Try again later.' },
  REGISTRY_REDIRECTED: {
    retry: true,
    hint: 'Another server than the registry was to serve this. Name its origin as trusted where that is intended; else look for a captive portal or a wrong registry URL.',
  },
  REGISTRY_ANSWER_INVALID: {
    retry: true,
    hint: 'The answer is not what an npm registry gives. Check that the URL is one.',
  },
  REGISTRY_ANSWER_TOO_LARGE: {
    retry: true,
    hint: 'The answer is larger than the limit. Raise the limit only for a registry you trust.',
  },
  PACKAGE_NOT_FOUND: {
    retry: true,
    hint: 'Check the name, the registry, and whether this registry wants a token for it.',
  },
  VERSION_NOT_FOUND: { retry: true, hint: 'Check the version or tag; a mirror may not have it yet.' },
  INTEGRITY_MISSING: {
    retry: false,
    hint: 'The registry gives no digest for this version, so its bytes cannot be checked.',
  },
  INTEGRITY_WEAK: { retry: false, hint: 'Only sha512 is accepted. Publish the version again with a current npm.' },
  INTEGRITY_MISMATCH: {
    retry: false,
    hint: 'The registry served other bytes than it promised. Do not retry; compare the digest with the publisher.',
  },
  INTEGRITY_CHANGED: {
    retry: false,
    hint: 'This version had another digest when it was first seen. Versions never change; ask the publisher.',
  },
  SIGNATURE_MISSING: {
    retry: false,
    hint: 'Policy requires a registry signature. Use a registry that signs, or relax it.',
  },
  SIGNATURE_INVALID: {
    retry: false,
    hint: 'The signature does not belong to these bytes. Do not use them; tell the registry.',
  },
  SIGNATURE_KEY_EXPIRED: { retry: false, hint: 'Use a version signed with a current key, or relax the policy.' },
  TARBALL_TOO_LARGE: { retry: false, hint: 'The package is larger than the limit. Raise the limit if it should be.' },
  TARBALL_INVALID: {
    retry: false,
    hint: 'The package is not a whole gzipped tar archive. It must be published again.',
  },
  BUNDLE_INVALID: {
    retry: false,
    hint: 'The bundle is no whole zip archive, or one that can be understood in two ways. It must be packed again: `mcpb pack`.',
  },
  TREE_TOO_LARGE: { retry: false, hint: 'The package unpacks to more than the limit. Raise the limit if it should.' },
  TREE_TOO_MANY_FILES: {
    retry: false,
    hint: 'The package holds more files than the limit. Raise the limit if it should.',
  },
  TREE_BOMB: { retry: false, hint: 'The package expands like a decompression bomb. Do not use it.' },
  TREE_UNSAFE: {
    retry: false,
    hint: 'The package holds an entry that no package needs. Do not use it; tell its publisher.',
  },
  GIT_SPEC_INVALID: {
    retry: false,
    exit: 2,
    hint: 'Give NAME@git+https://HOST/PATH.git, NAME@git+ssh://…, NAME@git+file:///PATH or NAME@github:OWNER/NAME, with #BRANCH, #TAG, #COMMIT or #semver:RANGE. Passwords belong to a credential helper of git.',
  },
  GIT_FAILED: {
    retry: true,
    hint: 'Try the same by hand: `git ls-remote URL`. Nothing is asked here, so a key or a credential helper has to do.',
  },
  UNPACK_TARGET_NOT_EMPTY: { retry: false, hint: 'Unpack into a new or empty directory.' },
  MANIFEST_INVALID: {
    retry: false,
    hint: 'The package.json inside the package cannot be used. It must be published again.',
  },
  MANIFEST_MISMATCH: {
    retry: false,
    hint: 'The package says it is another than the registry promised. Do not use it; tell the registry.',
  },
  // ---- the journal
  JOURNAL_WRITE_FAILED: {
    retry: false,
    hint: 'Nothing that was not durable has been shown or done. Look after the disk, then start again: the next start decides from the files.',
  },
  JOURNAL_DAMAGED: {
    retry: false,
    hint: 'Nothing was changed. `instar journal verify` lists all damage; restore the journal from a backup, or `instar journal repair` keeps a copy and goes on with what can be trusted.',
  },
  JOURNAL_NEWER: { retry: false, hint: 'A newer Instar wrote this journal. Use that version, or another home.' },
  JOURNAL_LOST_RECORDS: {
    retry: false,
    hint: 'Records that were durable once are missing. Restore the journal from a backup, or accept the loss with `instar journal repair`, which keeps a copy.',
  },
  JOURNAL_COMPACTED: {
    retry: false,
    hint: 'Read from a later record; `instar journal verify` says which is the first.',
  },
  JOURNAL_CLOSED: { retry: false, hint: 'Open the journal again.' },
  // ---- the controller, and the socket it is spoken to through
  CONTROLLER_NOT_RUNNING: { retry: true, exit: 3, hint: 'Start one with `instar up`.' },
  CONTROLLER_GONE: {
    retry: true,
    exit: 3,
    hint: 'The controller ended before it answered. `instar status` shows what was done.',
  },
  CONTROLLER_SILENT: {
    retry: true,
    exit: 6,
    hint: 'The controller did not answer in time. Look at its output, and restart it where it hangs.',
  },
  CONTROLLER_BUSY: { retry: true, hint: 'The controller serves as many clients as it may. Try again shortly.' },
  CONTROL_VERSION: { retry: false, hint: 'Use the same version of Instar for the command and the controller.' },
  CONTROL_DENIED: {
    retry: false,
    exit: 4,
    hint: 'Only the user that runs the controller may speak to it. Use that user, or another home.',
  },
  HTTP_PORT_TAKEN: {
    retry: true,
    hint: 'Name another with --port or `console.port`; 0 takes any that is free. Where a controller runs already, use that one: `instar status`.',
  },
  HTTP_UNUSABLE: { retry: false, hint: 'The cause says why. Name another port with --port or `console.port`.' },
  HTTP_FOREIGN: { retry: false, exit: 4, hint: 'Use the address that `instar status` shows, and from no other site.' },
  HTTP_UNKNOWN: { retry: false, hint: 'Ask for /, /mcp/workspaces/ID or /mcp/organisation.' },
  CONTROL_INVALID: { retry: false, hint: 'What came over the control socket is none of its messages.' },
  CONTROL_TOO_LARGE: { retry: false, hint: 'Ask for less at once.' },
  VERB_UNKNOWN: { retry: false, exit: 2, hint: 'The controller does not know this verb; it may be older.' },
  PARAMETERS_INVALID: { retry: false, exit: 2, hint: 'Correct the parameter named.' },
  RUN_UNKNOWN: { retry: false, exit: 2, hint: 'Name a run that `instar journal runs` shows.' },
  SEQUENCE_UNKNOWN: { retry: false, exit: 2, hint: 'Name a record that the journal holds, and none before the run.' },
  MACHINE_UNKNOWN: { retry: false, exit: 2, hint: 'Name a machine that `instar machine list` shows.' },
  DIAGRAM_MISSING: { retry: false, hint: 'The drawing is not in this installation. Install Instar again.' },
  // ---- releases
  NAME_INVALID: { retry: false, exit: 2, hint: 'Give a name that is not empty and has fewer than 180 letters.' },
  RELEASE_INCOMPLETE: { retry: false, hint: 'Nothing whole is there under this name. Fetch it again.' },
  RELEASE_DAMAGED: { retry: false, hint: 'It is not what was sealed any more. Fetch it again; it will be replaced.' },
  RELEASE_UNSAFE: {
    retry: false,
    hint: 'Only files, folders and symlinks that stay inside can be released. Report it to the publisher.',
  },
  RELEASE_LOCKED: { retry: true, hint: 'Another procedure is at work on it. Wait for it, or stop the process named.' },
  RELEASE_BANNED: { retry: false, hint: 'This version failed before. Unban it to use it all the same.' },
  VERSION_BELOW_COMMITTED: {
    retry: false,
    hint: 'A newer version was in use before. Going back is for a person to ask for.',
  },
  POINTER_INVALID: {
    retry: false,
    hint: 'The pointer was not believed and has been repaired. The next check stages anew.',
  },
  STATE_DAMAGED: { retry: false, hint: 'The damaged file was kept beside the new one; bans may have to be set again.' },
  STATE_UNREADABLE: { retry: true, hint: 'Check the disk and who owns the home.' },
  STATE_UNWRITABLE: { retry: true, hint: 'Check that the home belongs to you and can be written.' },
  // ---- disk
  DISK_FULL: { retry: true, hint: 'Free some space and try again.' },
  DISK_FAILED: { retry: false, hint: 'The disk reported an error. Check it before starting again.' },
  // ---- runs and their machines
  RUN_ENDED: { retry: false, hint: 'The run takes no more events. Start a new one.' },
  RUN_BUSY: { retry: true, hint: 'Another run for the same thing is under way. Wait until it has ended.' },
  EVENT_REFUSED: { retry: false, hint: 'Send an event that the machine understands; nothing was changed.' },
  MACHINE_INVALID: { retry: false, hint: 'Correct the definition at the places named.' },
  MACHINE_CHANGED: {
    retry: false,
    hint: 'The definition changed under a run. Give the change a new version, and keep the old one or migrate from it.',
  },
  RECORD_INVALID: { retry: false, hint: 'Another version wrote this journal, or it was edited. Use that version.' },
  CONTROLLER_CLOSED: { retry: true, hint: 'The controller is closing. Open it again.' },
  // ---- runtime processes
  RUNTIME_UNUSABLE: {
    retry: true,
    hint: 'See `instar journal show RUN` for what was tried, and what each start said.',
  },
  NOTHING_TO_ROLL_BACK: {
    retry: false,
    hint: 'The bundled version is in use already; `instar runtime status NAME` shows it.',
  },
  DEVELOPMENT_MODE: { retry: false, hint: 'In development the bundled version is used and nothing is fetched.' },
  RUNTIME_SPAWN_FAILED: { retry: true, hint: 'Check the program, its working directory and the space on the disk.' },
  RUNTIME_EXITED: { retry: false, hint: 'Its last lines of output say more.' },
  RUNTIME_UNSTOPPABLE: {
    retry: true,
    hint: 'The process hangs in the system. Look at what it waits for (disk, network share), then try again.',
  },
  PROBE_TIMEOUT: { retry: true, hint: 'Look at its output; raise `probe.timeoutMs` where the start is just slow.' },
  PROBE_MISMATCH: { retry: false, hint: 'Compare the answer with the probe in the configuration.' },
  PROBE_FOREIGN: { retry: true, hint: 'End the program that holds the port, or give the runtime another port.' },
  PROBE_UNHEARD: { retry: true, hint: 'Stop the process and start it again; its message cannot be heard any more.' },
  // ---- the tree of a release
  ENTRY_MISSING: { retry: false, hint: 'The package was published without it. Wait for another version.' },
  PROVIDED_MISSING: { retry: false, hint: 'Install the package with the host, or correct `provide`.' },
  PROVIDED_OUT_OF_RANGE: { retry: false, hint: "Bring the host's copy into the range that the release declares." },
  PROVIDED_UNSAFE: { retry: false, hint: 'Provide a package whose files all lie inside its own folder.' },
  NATIVE_UNLOADABLE: {
    retry: false,
    hint: 'The native module does not fit the Node that is to run it. Rebuild it, or choose another `node`.',
  },
  NODE_UNUSABLE: { retry: false, hint: 'Name a working Node executable as `node` of the runtime.' },
  // ---- the command that a host ships
  RUNTIME_OVERRIDE_MISSING: {
    retry: false,
    hint: 'Correct INSTAR_RUNTIME_OVERRIDE, or unset it to run what is installed.',
  },
  RUNTIME_NOT_INSTALLED: { retry: false, hint: 'Install a release, or bundle one with the host.' },
  // ---- plugins
  PLUGIN_NAME_INVALID: { retry: false, exit: 2, hint: 'Give a name as npm writes it, such as thing or @scope/thing.' },
  PLUGIN_SPEC_INVALID: {
    retry: false,
    exit: 2,
    hint: 'Give NAME, NAME@RANGE, a folder or a .tgz file with ./ or / before it, NAME@file:PATH, or NAME@ and a repository such as git+https://….',
  },
  ENGINES_UNMET: {
    retry: false,
    hint: 'Install a version that fits what plugins run in here, or correct `plugins.engines` of the configuration.',
  },
  PLUGIN_UNKNOWN: { retry: false, exit: 2, hint: 'Name a plugin that `instar plugin list` shows.' },
  PLUGIN_FOREIGN: {
    retry: false,
    hint: 'Something that Instar did not install has the place of the plugin. Move it away, then install again.',
  },
  PLUGIN_DAMAGED: { retry: false, hint: 'It is not what was sealed any more. Install it again; it will be replaced.' },
  PLUGIN_NOT_LIVE: {
    retry: false,
    hint: 'What was put there is not what is found through the live path. Look at what the target really is.',
  },
  PLUGIN_OVERTAKEN: {
    retry: true,
    hint: 'Another installer has put its version in place a moment later, and that one is live. Install again to have yours.',
  },
  PLUGIN_NOTHING_BEFORE: { retry: false, hint: 'No other version of it is kept there. Install the one you want.' },
  PLUGIN_TARGET_UNKNOWN: {
    retry: false,
    exit: 2,
    hint: 'Give `local`, ssh://[user@]host[:port]/path, exec:PREFIX#/path, or a name from `plugins.targets`.',
  },
  PLUGIN_TARGET_INVALID: {
    retry: false,
    exit: 2,
    hint: 'Give ssh://[user@]host[:port]/path or exec:PREFIX#/path, with an absolute path.',
  },
  TARGET_UNREACHABLE: {
    retry: true,
    exit: 3,
    hint: 'Try the same command by hand: `ssh HOST true`, or the prefix with `true` behind it. A prefix has to pass its input on, as `docker exec -i` does.',
  },
  TARGET_HOST_KEY: {
    retry: false,
    hint: 'Connect once by hand with `ssh HOST`, compare the key, and accept it there. Instar never adds one.',
  },
  TARGET_DENIED: {
    retry: false,
    exit: 4,
    hint: 'Nothing is asked here, so a key has to do: try `ssh -o BatchMode=yes HOST true`.',
  },
  TARGET_UNSUPPORTED: {
    retry: false,
    hint: 'The target needs sh, tar, find, sort, sed, readlink, sha256sum or shasum, and a mv that knows -T (GNU or BusyBox).',
  },
  TARGET_FAILED: { retry: true, hint: 'A step on the target failed. The message has what it said; look there.' },
  // ---- apps and workspaces
  WORKSPACE_UNKNOWN: { retry: false, exit: 2, hint: 'Name a workspace that `instar workspace list` shows.' },
  WORKSPACE_EXISTS: {
    retry: false,
    exit: 2,
    hint: 'Choose another id; `instar workspace list` shows those there are.',
  },
  WORKSPACE_INVALID: {
    retry: false,
    exit: 2,
    hint: 'Use small letters, digits, ".", "_" and "-", at most 63, with a letter or digit first.',
  },
  APP_SPEC_INVALID: {
    retry: false,
    exit: 2,
    hint: 'Give NAME, NAME@RANGE, a folder, a .tgz or an .mcpb file with ./ or / before it, NAME@file:PATH, or NAME@ and a repository such as git+https://….',
  },
  APP_LOCAL: {
    retry: false,
    exit: 2,
    hint: 'Say where the version is that it is to have: `instar app upgrade NAME --to ./newer.mcpb`.',
  },
  APP_CONFIG_INVALID: {
    retry: false,
    exit: 2,
    hint: 'Give a value by --set KEY=VALUE, and a secret by --credential KEY=NAME, under which the host keeps it.',
  },
  APP_CALL_FAILED: { retry: false, hint: 'The app itself has answered so.' },
  PERMISSION_DENIED: {
    retry: false,
    exit: 4,
    hint: 'Ask somebody who may, or use another token; the refusal is in the journal.',
  },
  TOKEN_UNKNOWN: { retry: false, exit: 2, hint: 'Name a token that `instar access list` shows.' },
  APP_UNKNOWN: { retry: false, exit: 2, hint: 'Name an app that `instar app list` shows.' },
  APP_PINNED: {
    retry: false,
    exit: 5,
    hint: 'It is to stay at its version. `instar app unpin NAME` lets it go; `instar app list` shows the note.',
  },
  APP_OVERTAKEN: { retry: true, exit: 5, hint: 'Another version was carried in meanwhile. Look, and ask again.' },
  APP_INSTALLED: { retry: false, exit: 2, hint: 'It is there already. Remove it first to install it anew.' },
  APP_MANIFEST_INVALID: {
    retry: false,
    hint: 'The package does not say rightly how it is run. It must be published again.',
  },
  APP_CAPABILITY_MISSING: {
    retry: false,
    hint: 'This host cannot do what the app needs. Use another version, or name what the host can do in `apps.capabilities`.',
  },
  DEPENDENCIES_FAILED: { retry: true, hint: 'The cause has what npm says. Check the registry, then try again.' },
  APP_START_FAILED: { retry: true, hint: 'Its last lines of output say more.' },
  APP_HANDSHAKE_TIMEOUT: { retry: true, hint: 'It runs, but says nothing. Look at its output: `instar app logs`.' },
  APP_HANDSHAKE_FAILED: { retry: false, hint: 'What it prints is not the protocol. Is it an MCP server on stdio?' },
  APP_UNHEALTHY: { retry: true, hint: 'It was ended and is started again.' },
  APP_STOPPED: { retry: true, hint: 'It was stopped. Call again when it runs.' },
  APP_NOT_READY: { retry: true, exit: 6, hint: 'No process of it serves. `instar app list` says why.' },
  MCP_SESSION_UNKNOWN: { retry: false, hint: 'Connect again; this conversation is over.' },
  CREDENTIAL_UNKNOWN: {
    retry: false,
    exit: 2,
    hint: 'Keep the secret under this name first: `instar credential set NAME --workspace W`.',
  },
  // ---- sessions and their daemon
  DAEMON_NOT_RUNNING: { retry: true, exit: 3, hint: 'Start one with `instar daemon start`.' },
  DAEMON_GONE: {
    retry: true,
    exit: 3,
    hint: 'The daemon ended before it answered. `instar daemon status` tells more.',
  },
  DAEMON_SILENT: { retry: true, exit: 6, hint: 'The daemon did not answer in time. Look at its log.' },
  DAEMON_RUNNING: { retry: false, hint: 'Another daemon serves this name. Use it, or stop it first.' },
  DAEMON_SPAWN_FAILED: { retry: true, hint: 'The end of the daemon log says why it did not start.' },
  DAEMON_DENIED: { retry: false, exit: 4, hint: 'Only the user that runs the daemon may speak to it.' },
  DAEMON_UNKNOWN: { retry: false, exit: 2, hint: 'Name a daemon that `sessions.daemons` of the configuration lists.' },
  DAEMON_STOPPING: { retry: false, exit: 3, hint: 'The daemon is being stopped. Start it again when it has ended.' },
  DAEMON_FAILED: {
    retry: false,
    hint: 'The daemon is newer than this client and has a code for it: `code` in the details.',
  },
  DAEMON_BUSY: { retry: true, hint: 'The daemon serves as many clients and requests as it may. Try again shortly.' },
  PROTOCOL_INVALID: { retry: false, hint: 'What came over the socket is not the protocol of session daemons.' },
  PROTOCOL_UNSUPPORTED: {
    retry: false,
    hint: 'Client and daemon have no version of the protocol in common. Update one.',
  },
  METHOD_UNKNOWN: { retry: false, exit: 2, hint: 'The daemon does not know this method; it may be older.' },
  SESSION_UNKNOWN: { retry: false, exit: 2, hint: 'Name a session that `instar session list` shows.' },
  SESSION_EXISTS: { retry: false, exit: 2, hint: 'Choose another id, or attach to the one that is there.' },
  SESSION_ENDED: { retry: false, hint: 'Its program has ended; `instar session wait` tells how.' },
  SESSION_CWD_INVALID: { retry: false, exit: 2, hint: 'Name a directory that exists and that you may enter.' },
  SESSION_COMMAND_INVALID: { retry: false, exit: 2, hint: 'Name a program that exists and that you may run.' },
  SESSION_SIGNAL_DENIED: {
    retry: false,
    exit: 4,
    hint: 'Type what ends it into the session, for example Ctrl-C, or end the session with `instar session kill`.',
  },
  SESSION_LIMIT: { retry: true, hint: 'End some sessions, or raise the limit of open files or of terminals.' },
  SESSION_LOST: {
    retry: false,
    hint: 'Its program ended while nobody was there to hear how; this is never told as a success.',
  },
  TERMINAL_REQUIRED: {
    retry: false,
    exit: 2,
    hint: 'Run it in a terminal. Without one use `instar session read`, `send`, `screen` and `wait`.',
  },
  SESSION_ATTACHED: { retry: false, hint: 'One connection attaches to a session once.' },
  PTY_UNAVAILABLE: {
    retry: false,
    hint: 'Install node-pty for this platform and Node: `npm install node-pty@1.2.0-beta.15`.',
  },
  PLATFORM_UNSUPPORTED: { retry: false, hint: 'Use Linux or macOS for this. Nothing was changed.' },
  HANDOFF_FAILED: { retry: true, hint: 'The daemon serves on as before. The log of the successor says more.' },
  HANDOFF_TIMEOUT: { retry: true, hint: 'The successor did not answer in time; the daemon serves on as before.' },
  SNAPSHOT_INVALID: { retry: false, hint: 'The successor refused the snapshot and nothing was adopted. Report it.' },
  SNAPSHOT_UNSUPPORTED: {
    retry: false,
    hint: 'The two daemons have no format of the snapshot in common. Update in smaller steps.',
  },
  // ---- anything else
  ABORTED: { retry: true, exit: 130, hint: 'The operation was cancelled; nothing it had begun is in use.' },
  INTERNAL: { retry: false, hint: 'This is a defect in Instar. Please report it with the journal around it.' },
} as const satisfies Record<string, CodeEntry>

export type InstarErrorCode = keyof typeof codes

export interface InstarErrorOptions {
  readonly cause?: unknown
  /** Replaces the table's hint where the place of failure knows better. */
  readonly hint?: string
  /** Plain data for programs: paths, versions, numbers. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** Every failure that Instar reports on purpose. Programs branch on `code`, people read `message` and `hint`. */
export class InstarError extends Error {
  readonly code: InstarErrorCode
  readonly hint: string
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: InstarErrorCode, message: string, options: InstarErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'InstarError'
    this.code = code
    this.hint = options.hint ?? codes[code].hint
    this.details = options.details
  }

  /** True when trying again without changing anything can help. */
  get retry(): boolean {
    return codes[this.code].retry
  }

  get exitCode(): number {
    return exitCodeOf(this.code)
  }
}

/** What the command line ends with for an error's code; 1 where there is none, or none of ours. */
export function exitCodeOf(code: string | undefined): number {
  return code !== undefined && Object.hasOwn(codes, code) ? ((codes as Record<string, CodeEntry>)[code]!.exit ?? 1) : 1
}

/** An error as plain data: what the journal, the socket and `--json` carry. */
export interface ErrorRecord {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly hint?: string
  readonly details?: Readonly<Record<string, unknown>>
}

/** Turns anything thrown into plain data. System errors keep their `code`; causes are folded into the message once. */
export function errorRecord(error: unknown): ErrorRecord {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { code, hint, details } = error as Error & { code?: unknown; hint?: unknown; details?: Record<string, unknown> }
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : ''
  return {
    name: error.name,
    message: `${error.message}${cause}`,
    ...(typeof code === 'string' && { code }),
    ...(typeof hint === 'string' && { hint }),
    ...(details !== undefined && { details }),
  }
}

/** Gives an error record back its class, so that a caller across a socket can branch on `code` as the one inside can. */
export function errorFrom(record: ErrorRecord): Error {
  if (record.code !== undefined && record.code in codes) {
    const { hint, details } = record
    return new InstarError(record.code as InstarErrorCode, record.message, { hint, details })
  }
  const error = new Error(record.message)
  error.name = record.name
  if (record.code !== undefined) Object.assign(error, { code: record.code })
  return error
}

/** The same error, saying more for programs. */
export function withDetails(error: InstarError, more: Readonly<Record<string, unknown>>): InstarError {
  const { code, message, cause, hint, details } = error
  return new InstarError(code, message, { cause, hint, details: { ...details, ...more } })
}

/** Names the disk's refusal by one of our codes; every other error passes unchanged. */
export function diskError(error: unknown, doing: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new InstarError('DISK_FULL', `no space left while ${doing}`, { cause: error })
  if (code === 'EIO' || code === 'EROFS')
    return new InstarError('DISK_FAILED', `the disk failed while ${doing}`, { cause: error })
  return error
}
