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
    const { before, release: proven } = await steps.look({ ...place, offer }, context)
    let release = proven
    try {
      const acquire = async () => {
        const fetched = { ...place, offer, ...(await steps.fetch({ ...place, offer }, context)) }
        await steps.verify(fetched, context)
        return steps.seal(fetched, context)
      }
      release ??= await acquire()
      if (before.isWhole && before.live!.digest === release.digest)
        return { plugin, version, before, staged: null, failure: null }
      const staged = await steps.stage({ ...place, release }, context).catch(async (error) => {
        // Also one that is new: what else is installed may have pruned it.
        if (error.code !== 'RELEASE_DAMAGED') throw error
        return steps.stage({ ...place, release: await acquire() }, context)
      })
      return { plugin, version, before, staged, failure: null }
    } catch (error) {
      // A draft goes by the key of this effect, which only this effect knows.
      await steps.discard({ ...place, draft: context.key, staged: null, isBegun: release !== null }).catch(() => {}) // nobody's, so a sweep takes it
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
          throw detailed(error, { plugin })
        }
      }
      return swapped
    },

    prune: ({ target, swapped }) => each(swapped, ({ plugin, spare }) => steps.prune({ plugin, target, spare })),

    // The more of them are back, the less a person has to do.
    goBack: ({ target, prepared }) =>
      each(prepared, ({ plugin, before, staged }) =>
        steps.goBack({ plugin, target, before: before!, staged: staged! }),
      ),

    // What was not prepared has removed what it had begun; where nobody knows, something may be left of each.
    discard: ({ target, members, prepared }) =>
      each(members, ({ plugin }) => {
        const one = prepared.find((member) => member.plugin === plugin)
        const staged = one?.staged ?? null
        return steps.discard({ plugin, target, draft: null, staged, isBegun: one === undefined || staged !== null })
      }),
  } satisfies EffectsOf<typeof pluginSet>
}

/** Does it for every one, whatever becomes of the others, and then fails if it failed for some: `reasons`, by plugin. */
async function each<Member extends { readonly plugin: string }>(
  members: readonly Member[],
  work: (member: Member) => Promise<void>,
): Promise<void> {
  const failures: (readonly [plugin: string, error: unknown])[] = []
  for (const member of members) await work(member).catch((error) => failures.push([member.plugin, error]))
  if (failures.length === 0) return
  const reasons = Object.fromEntries(failures.map(([plugin, error]) => [plugin, errorRecord(error).message]))
  throw detailed(failures[0]![1], { reasons })
}

function detailed(error: unknown, details: Readonly<Record<string, unknown>>): unknown {
  return error instanceof InstarError ? withDetails(error, details) : Object.assign(error as Error, { details })
}
