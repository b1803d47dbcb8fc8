// A host that embeds the controller, and is the program of its session daemons as well. It is never run as it lies here:
// tests bundle it.
//
//   host HOME start | update | stop     tells its daemon; the answer is a line of JSON
//   host session-daemon ARGUMENTS       is the daemon
import { openController, parseConfig } from 'instar'
import { runDaemon } from 'instar/sessions/daemon'

async function main([word, ...args]) {
  if (word === 'session-daemon') return runDaemon(args)
  const controller = await openController({
    home: word,
    config: parseConfig({ sessions: { autoUpdate: false } }, '/'),
    sessions: { command: [process.execPath, process.argv[1], 'session-daemon'] },
  })
  try {
    const [verb] = args
    console.log(JSON.stringify(await controller.daemon[verb]()))
  } finally {
    await controller.close()
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
