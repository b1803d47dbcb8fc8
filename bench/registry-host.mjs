// A registry in a process of its own, so that packing what it publishes does not hold up who measures.
import { startRegistry } from '../dist/src/testing/registry.js'

const registry = await startRegistry()
process.on('message', (published) => {
  registry.publish(...published)
  process.send('published')
})
process.on('disconnect', () => registry[Symbol.asyncDispose]())
process.send(registry.url)
