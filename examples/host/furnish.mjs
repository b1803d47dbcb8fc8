// What an administrator would type once: two workspaces, and two published MCP servers in each. The organisation's version
// is the one that the first install brings; later it is raised by `instar app upgrade`.
import { openController } from '../../dist/src/index.js'

const apps = {
  '@modelcontextprotocol/server-everything': [],
  '@modelcontextprotocol/server-filesystem': ['${data}'],
}
const workspaces = { acme: Object.keys(apps), globex: Object.keys(apps) }

/** Makes sure that all of it is there. */
export async function furnish({ home, config, signal }) {
  const controller = await openController({ home, config, signal, schedule: false })
  try {
    const present = new Map(controller.workspaces.list().map(({ id, apps: installed }) => [id, installed]))
    for (const [workspace, wanted] of Object.entries(workspaces)) {
      if (!present.has(workspace)) await controller.workspaces.add(workspace)
      for (const app of wanted) {
        if (present.get(workspace)?.includes(app)) continue
        console.error(`Installing ${app} in ${workspace} …`)
        await controller.apps.install(app, { workspace, args: apps[app], signal })
      }
    }
  } finally {
    await controller.close()
  }
}
