/**
 * What an app inherits of the controller's environment: where things are and how a person reads, and nothing that might be
 * a secret. Everything else is given to an app by its install.
 */
const passed = new Set([
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TERM', 'TZ', 'LANG', 'LANGUAGE', 'TMPDIR'],
  // What programs on Windows cannot do without.
  ...['SystemRoot', 'SystemDrive', 'ProgramData', 'APPDATA', 'LOCALAPPDATA', 'USERPROFILE', 'TEMP', 'TMP', 'PATHEXT'],
  // Certificates and proxies of the network that it lives in.
  ...['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY'],
  ...['https_proxy', 'http_proxy', 'no_proxy'],
])

export function appEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => passed.has(name) || name.startsWith('LC_')))
}
