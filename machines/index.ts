/** The statecharts, by name. The `instar/machines` subpath. */
import { appInstall } from './app-install.ts'
import { appInstance } from './app-instance.ts'
import { appPin } from './app-pin.ts'
import { appRefusal } from './app-refusal.ts'
import { appRemove } from './app-remove.ts'
import { appUpgrade } from './app-upgrade.ts'
import { daemonHandoff } from './daemon-handoff.ts'
import { daemonSupervision } from './daemon-supervision.ts'
import { daemonTakeover } from './daemon-takeover.ts'
import { pluginInstall } from './plugin-install.ts'
import { pluginRemove } from './plugin-remove.ts'
import { pluginSet } from './plugin-set.ts'
import { runtimeAdjust } from './runtime-adjust.ts'
import { runtimeLaunch } from './runtime-launch.ts'
import { runtimeUpdate } from './runtime-update.ts'
import { workspaceAdjust } from './workspace-adjust.ts'

export type * from './app.ts'
export type { AppInstallContext, AppInstallInput, AppInstallNotice, AppInstallResult } from './app-install.ts'
export type {
  InstanceAnswer,
  InstanceContext,
  InstanceEvent,
  InstanceInput,
  InstanceNotice,
} from './app-instance.ts'
export type { AppPinInput, AppPinNotice } from './app-pin.ts'
export type { AppRole, RefusalInput, RefusalNotice } from './app-refusal.ts'
export type { AppRemoveInput, AppRemoveNotice, AppRemoveResult } from './app-remove.ts'
export type {
  Behind,
  UpgradeContext,
  UpgradeInput,
  UpgradeNotice,
  UpgradeOutcome,
  UpgradePolicy,
  UpgradeResult,
  WorkspaceResult,
} from './app-upgrade.ts'
export type * from './daemon.ts'
export type { Committed, HandoffContext, HandoffInput, HandoffNotice, HandoffOutput } from './daemon-handoff.ts'
export type * from './daemon-supervision.ts'
export type {
  Adopted,
  Takeover,
  TakeoverContext,
  TakeoverInput,
  TakeoverNotice,
  TakeoverOutput,
} from './daemon-takeover.ts'
export type { Failure } from './effect.ts'
export { effect, failureOf } from './effect.ts'
export type * from './package.ts'
export type * from './plugin.ts'
export type { InstallContext, InstallInput, InstallNotice, InstallOutcome, InstallResult } from './plugin-install.ts'
export type { RemoveInput, RemoveNotice, RemoveResult } from './plugin-remove.ts'
export type { Prepared, SetInput, SetMember, SetNotice, SetOutcome, SetResult, Swapped } from './plugin-set.ts'
export type * from './runtime.ts'
export type { Adjusted, Adjustment } from './runtime-adjust.ts'
export type {
  Child,
  Ended,
  Exit,
  LaunchContext,
  LaunchNotice,
  LaunchOutcome,
  LaunchResult,
  OwedStrike,
} from './runtime-launch.ts'
export type { Evidence, UpdateContext, UpdateNotice, UpdateOutcome, UpdateResult } from './runtime-update.ts'
export type { WorkspaceInput, WorkspaceNotice } from './workspace-adjust.ts'
export {
  appInstall,
  appInstance,
  appPin,
  appRefusal,
  appRemove,
  appUpgrade,
  daemonHandoff,
  daemonSupervision,
  daemonTakeover,
  pluginInstall,
  pluginRemove,
  pluginSet,
  runtimeAdjust,
  runtimeLaunch,
  runtimeUpdate,
  workspaceAdjust,
}

export const machines = {
  'app-install': appInstall,
  'app-instance': appInstance,
  'app-pin': appPin,
  'app-refusal': appRefusal,
  'app-remove': appRemove,
  'app-upgrade': appUpgrade,
  'daemon-handoff': daemonHandoff,
  'daemon-supervision': daemonSupervision,
  'daemon-takeover': daemonTakeover,
  'plugin-install': pluginInstall,
  'plugin-remove': pluginRemove,
  'plugin-set': pluginSet,
  'runtime-adjust': runtimeAdjust,
  'runtime-launch': runtimeLaunch,
  'runtime-update': runtimeUpdate,
  'workspace-adjust': workspaceAdjust,
} as const

export type MachineName = keyof typeof machines
