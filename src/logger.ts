/** Where the controller speaks; the shape of pino's and most others'. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** A logger of the host's that cannot get in the way: where it throws, the words are lost and the work goes on. */
export function harmless(logger: Logger): Logger {
  const say = (level: keyof Logger) => (fields: object, message: string) => {
    try {
      logger[level](fields, message)
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error))
    }
  }
  return { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
}
