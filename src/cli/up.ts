import { once } from 'node:events'
import type { Controller } from '../controller.ts'
import type { Running } from '../managed-runtime.ts'
import { type Cli, type Command, configFile, configOf, exit, homeOf } from './cli.ts'
import { loggerFor } from './logger.ts'
import { checkText, launchText } from './runtime.ts'

/**
 * Runs the controller in the foreground: checks and launches every runtime, watches them, and stops all of it when a
 * signal says so. Ends with 0 by SIGTERM, which is how a service is stopped in good order, and with 130 by Ctrl-C.
 *
 * A check that fails, or a runtime that does not start, is said and does not end the others.
 */
export const up: Command<[options: { readonly port?: number }]> = async (cli, { port }) => {
  const { output, signal } = cli
  const home = await homeOf(cli)
  const config = await configOf(cli)
  const [{ openController }, { serveControl }, { HttpServer }] = await Promise.all([
    import('../controller.ts'),
    import('../control/serve.ts'),
    import('../http/server.ts'),
  ])
  const log = (message: string) => output.detail(message)
  await using http = await HttpServer.listen({ port: port ?? config.console.port, log })
  const controller = await openController({ home, config, logger: loggerFor(output), signal })
  try {
    await using server = await serveControl(controller, log)
    await http.serve(controller)
    const file = (await configFile(cli)) ?? null
    await output.reached(
      {
        event: 'up',
        home: controller.home,
        pid: process.pid,
        config: file,
        control: server.address,
        url: http.url,
        console: controller.consoleLink,
      },
      () =>
        [
          `home ${controller.home}`,
          `controller pid ${process.pid}`,
          `configuration ${file ?? 'none'}`,
          `address ${http.url}`,
          `console ${controller.consoleLink}`,
        ]
          .map((line) => `${line}\n`)
          .join(''),
    )
    await Promise.all(controller.runtimes().map((name) => bringUp(cli, controller, name)))
    await Promise.race([untilAborted(signal), died(controller)])
    output.note('stopping')
  } finally {
    await controller.close()
  }
  await output.result({ outcome: 'stopped' }, () => '')
  return exit.done
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}

/** A controller whose journal has failed can do nothing more; it is for whoever started us to start us again. */
async function died(controller: Controller): Promise<never> {
  throw await controller.failed
}

async function bringUp({ output, signal }: Cli, controller: Controller, name: string): Promise<void> {
  const runtime = controller.runtime(name)
  const onProgress = (data: unknown) => output.progress(name, data)
  try {
    const result = await runtime.check({ signal, onProgress })
    await output.reached({ event: 'checked', ...result }, () => `${checkText(result)}\n`)
  } catch (error) {
    // Nothing newer was found; what is there can still be launched.
    if (!signal.aborted) output.error(error)
  }
  if (signal.aborted) return
  try {
    const running = await runtime.launch({ signal, onProgress })
    const { version, pid, url, arm, insteadOf } = running
    const started = { runtime: name, version, pid, url, arm, insteadOf }
    await output.reached({ event: 'launched', ...started }, () => `${launchText(started)}\n`)
    void reportExit(name, running).catch(() => {}) // nobody can say any more; why is told where all of it ends
  } catch (error) {
    if (!signal.aborted) output.error(error)
  }

  async function reportExit(name: string, running: Running): Promise<void> {
    const { code, signal: by } = await running.exited
    if (!signal.aborted)
      output.warn(`${name}: pid ${running.pid} ended ${code === null ? `by ${by}` : `with code ${code}`}`)
  }
}
