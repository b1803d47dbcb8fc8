// A host that embeds the controller, and is the program of its session daemons as well. It is never run as it lies here:
// tests bundle it.
//
//   host HOME start | update | stop     tells its daemon; the answer is a line of JSON, also of an error
//   host HOME start careless            the same, without saying what its daemon is
//   host session-daemon ARGUMENTS       is the daemon
async function main([word, ...args]) {
  // Loaded when they are needed, which has bundlers put them into files of their own where they can.
  if (word === 'session-daemon') return (await import('instar/sessions/daemon')).runDaemon(args)
  const { errorRecord, openController, parseConfig } = await import('instar')
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
