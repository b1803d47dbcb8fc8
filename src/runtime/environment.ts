/** Child: echoes it to prove that it is the process we started. */
export const nonceVariable = 'INSTAR_NONCE'
/** Person: the command of a host runs this instead of the release that the pointer names. */
export const overrideVariable = 'INSTAR_RUNTIME_OVERRIDE'
/** Child: set to 1 in a trial start, so that it can leave the user's data alone. */
export const qualifyingVariable = 'INSTAR_QUALIFYING'

const ours = new Set([nonceVariable, overrideVariable, qualifyingVariable])

// A shell drops every other name on its way to `exec`, and which ones differs between shells. Dropped here, they are
// gone everywhere alike. Windows has no shell in between and has names such as `ProgramFiles(x86)`.
const portableName = /^[A-Za-z_]\w*$/

/**
 * The environment of a child: the host's own, then `added`.
 *
 * What steers Instar itself is never inherited, so an override meant for one start cannot reach a fallback. Names that
 * are not letters, digits and "_" are not passed on, except on Windows.
 */
export function childEnvironment(
  added: Readonly<Record<string, string>>,
  inherited: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): Record<string, string> {
  const passed: Record<string, string> = {}
  for (const [name, value] of Object.entries(inherited)) {
    if (value === undefined || ours.has(name)) continue
    if (platform === 'win32' || portableName.test(name)) passed[name] = value
  }
  return { ...passed, ...added }
}
