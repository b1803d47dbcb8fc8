import { loadConfig } from './config.ts'
import { serveControl } from './control/serve.ts'
import { type Controller, type ControllerOptions, openController as open } from './controller.ts'
import type { HttpServer } from './http/server.ts'
import { harmless, silent } from './logger.ts'

export interface EmbeddedOptions extends ControllerOptions {
  /** Let the command line reach this controller through the home's control socket. Default true. */
  readonly serve?: boolean
  /**
   * Serve the console, and the apps of workspaces as MCP servers, over HTTP on loopback: at the configuration's port, where
   * this gives no other. Where they are then: `controller.consoleLink` and `controller.url`. Default false.
   */
  readonly console?: boolean | { readonly port: number }
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
 *   `MACHINE_CHANGED`, `MACHINE_UNKNOWN`, `MACHINE_INVALID`, `CONFIG_INVALID`, `CONFIG_UNREADABLE`, `DISK_FULL`,
 *   `HTTP_PORT_TAKEN`, `HTTP_UNUSABLE`. Nothing was started then.
 */
export async function openController(options: EmbeddedOptions): Promise<Controller> {
  const { serve = true, console = false, observe = false } = options
  const config = typeof options.config === 'string' ? await loadConfig(options.config) : options.config
  const logger = harmless(options.logger ?? silent)
  const log = (message: string) => logger.debug({}, message)
  // It has its port before there is a controller: where that is taken, nothing has been begun.
  const http =
    console === false || observe ? null : await listen(console === true ? config.console.port : console.port, log)
  let controller: Controller | undefined
  try {
    controller = await open({ ...options, config })
    if (serve && !observe) await reachable(controller, log)
    await http?.serve(controller)
    return controller
  } catch (error) {
    await controller?.close({ leaveRunning: true }).catch(() => {}) // the first error is the one to report
    await http?.close()
    throw error
  }
}

async function listen(port: number, log: (message: string) => void): Promise<HttpServer> {
  const { HttpServer } = await import('./http/server.ts') // most hosts have a page of their own
  const http = await HttpServer.listen({ port, log })
  http.unref()
  return http
}

async function reachable(controller: Controller, log: (message: string) => void): Promise<void> {
  const server = await serveControl(controller, log)
  server.unref()
  controller.beforeClose(() => server.close())
}
