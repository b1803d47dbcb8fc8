import { serveControl } from './control/serve.ts'
import { type Controller, type ControllerOptions, openController as open } from './controller.ts'

export interface EmbeddedOptions extends ControllerOptions {
  /** Let the command line reach this controller through the home's control socket. Default true. */
  readonly serve?: boolean
}

/**
 * Opens a home for a host: recovers what was under way when its last controller ended, goes on with it, and can be
 * reached by `instar …` on the same home until it is closed.
 *
 * Nothing of it keeps the process alive while nothing is asked of it.
 *
 * One controller at a time has a home, in this process or another.
 *
 * @throws {InstarError} `HOME_LOCKED` (names the holder), `HOME_UNUSABLE`, `HOME_FOREIGN`, `HOME_NEWER`, `JOURNAL_*`,
 *   `MACHINE_CHANGED`, `MACHINE_UNKNOWN`, `CONFIG_INVALID`, `CONFIG_UNREADABLE`, `DISK_FULL`. Nothing was started then.
 */
export async function openController({ serve = true, ...options }: EmbeddedOptions): Promise<Controller> {
  const controller = await open(options)
  if (!serve || options.observe) return controller
  try {
    const server = await serveControl(controller, (message) => options.logger?.debug({}, message))
    server.unref()
    controller.beforeClose(() => server.close())
    return controller
  } catch (error) {
    await controller.close({ leaveRunning: true })
    throw error
  }
}
