import type { Prepared, pluginSet, SetMember, Swapped } from '../../machines/index.ts'
import { errorRecord, InstarError, withDetails } from '../errors.ts'
import type { EffectContext, EffectsOf } from '../run/flow.ts'
import { installEffects } from './plugin-install.ts'
import type { PluginWorld } from './plugin-world.ts'

/** Serves `machines/plugin-set.ts`: for each member what an install of its own would do, in the same steps. */
export const setEffects = (world: PluginWorld) => {
  const steps = installEffects(world)

  const prepare = async (target: string, { plugin, wanted }: SetMember, context: EffectContext): Promise<Prepared> => {
    const place = { plugin, target }
    const offer = await steps.resolve({ ...place, wanted }, context)
    const { version } = offer
    const { before, release: proven } = await steps.look({ ...place, offer })
    try {
      const acquire = async () => {
        const fetched = { ...place, offer, ...(await steps.fetch({ ...place, offer }, context)) }
        await steps.verify(fetched, context)
        return steps.seal(fetched, context)
      }
      const release = proven ?? (await acquire())
      if (before.isWhole && before.live!.digest === release.digest)
        return { plugin, version, before, staged: null, failure: null }
      const staged = await steps.stage({ ...place, release }, context).catch(async (error) => {
        if (proven === null || error.code !== 'RELEASE_DAMAGED') throw error
        return steps.stage({ ...place, release: await acquire() }, context)
      })
      return { plugin, version, before, staged, failure: null }
    } catch (error) {
      // A draft goes by the key of this effect, which only this effect knows.
      await steps.discard({ ...place, draft: context.key, staged: null }).catch(() => {})
      context.signal.throwIfAborted()
      return { plugin, version, before, staged: null, failure: errorRecord(error) }
    }
  }

  return {
    prepare: async ({ target, members }, context) => {
      const prepared: Prepared[] = []
      for (const member of members) {
        const { plugin } = member
        const own = { ...context, key: `${context.key} ${plugin}` }
        prepared.push(
          await prepare(target, member, own).catch((error) => {
            context.signal.throwIfAborted()
            return { plugin, version: null, before: null, staged: null, failure: errorRecord(error) }
          }),
        )
      }
      return prepared
    },

    swap: async ({ target, prepared }, context) => {
      const swapped: Swapped[] = []
      for (const { plugin, before, staged } of prepared) {
        const place = { plugin, target, before: before!, staged: staged! }
        try {
          await steps.snapshot(place)
          await steps.swap(place)
          swapped.push({ plugin, ...(await steps.readBack(place)) })
        } catch (error) {
          context.signal.throwIfAborted()
          throw about(plugin, error)
        }
      }
      return swapped
    },

    prune: async ({ target, swapped }) => {
      for (const { plugin, spare } of swapped) await steps.prune({ plugin, target, spare })
    },

    // Every member, whatever became of the one before: the more of them are back, the less a person has to do.
    goBack: async ({ target, prepared }) => {
      const failures: unknown[] = []
      for (const { plugin, before, staged } of prepared)
        await steps.goBack({ plugin, target, before: before!, staged: staged! }).catch((error) => {
          failures.push(about(plugin, error))
        })
      if (failures.length > 0) throw failures[0]
    },

    discard: async ({ target, members, prepared }) => {
      for (const { plugin } of members) {
        const staged = prepared.find((one) => one.plugin === plugin)?.staged ?? null
        await steps.discard({ plugin, target, draft: null, staged })
      }
    },
  } satisfies EffectsOf<typeof pluginSet>
}

/** The error, with whose it is. */
function about(plugin: string, error: unknown): unknown {
  return error instanceof InstarError
    ? withDetails(error, { plugin })
    : Object.assign(error as Error, { details: { plugin } })
}
