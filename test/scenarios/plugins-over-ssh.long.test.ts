import { pluginScenarios } from './plugins.ts'

pluginScenarios('a host over ssh')
