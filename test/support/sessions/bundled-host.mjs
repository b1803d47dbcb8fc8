// A host that embeds the controller, and is the program of its session daemons as well. It is never run as it lies here:
// tests bundle it.
//
//   host HOME start | update | stop     tells its daemon; the answer is a line of JSON, also of an error
//   host HOME start careless            the same, without saying what its daemon is
//   host session-daemon ARGUMENTS       is the daemon
import { errorRecord, openController, parseConfig } from 'instar'
import { runDaemon } from 'instar/sessions/daemon'

async function main([word, ...args]) {
  if (word === 'session-daemon') return runDaemon(args)
  const [verb, how] = args
  const command = [process.execPath, process.argv[1], 'session-daemon']
  const controller = await openController({
    home: word,
    config: parseConfig({ sessions: { autoUpdate: false } }, '/'),
    sessions: how === 'careless' ? {} : { command },
  })
  try {
    console.log(JSON.stringify(await controller.daemon[verb]().catch(errorRecord)))
  } finally {
    await controller.close()
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
