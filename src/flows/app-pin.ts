import type { appPin } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import type { EffectsOf } from '../run/flow.ts'
import type { AppWorld } from './app-world.ts'

/** Serves `machines/app-pin.ts`. */
export const appPinEffects = ({ store }: AppWorld) =>
  ({
    carryOut: async ({ app, pin }) => {
      if (pin === null) return store.unpin(app)
      const { current } = await store.pointer(app)
      if (current?.version !== pin.version)
        throw new InstarError('APP_OVERTAKEN', `${app} is ${current?.version ?? 'gone'} by now, not ${pin.version}`)
      await store.pin(app, pin)
    },
  }) satisfies EffectsOf<typeof appPin>
