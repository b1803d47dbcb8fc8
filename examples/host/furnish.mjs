// What an administrator would type once, while the controller runs: two workspaces, and two published MCP servers in each. The
// organisation's version is the one that the first install brings; later it is raised by `instar app upgrade`.
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControl } from '../../dist/src/control/connect.js'

const apps = {
  '@modelcontextprotocol/server-everything': [],
  '@modelcontextprotocol/server-filesystem': ['${data}'],
}
const ids = ['acme', 'globex']

/** Makes sure that all of it is there, once a controller answers. */
export async function furnish({ home, signal }) {
  const controller = await reached(home, signal)
  try {
    const { workspaces } = await controller.perform('workspace.list', {})
    const present = new Map(workspaces.map(({ id, apps: installed }) => [id, installed]))
    for (const workspace of ids) {
      if (!present.has(workspace)) await controller.perform('workspace.add', { id: workspace })
      for (const [spec, args] of Object.entries(apps)) {
        if (present.get(workspace)?.includes(spec)) continue
        const { version } = await controller.perform(
          'app.install',
          { spec, workspace, args, folder: process.cwd() },
          { signal },
        )
        console.error(`${spec} ${version} runs in ${workspace}`)
      }
    }
  } finally {
    await controller.close()
  }
}

async function reached(home, signal) {
  for (;;) {
    const controller = await connectControl(home).catch(() => undefined) // it is just being opened
    if (controller !== undefined) return controller
    await sleep(100, undefined, { signal })
  }
}
