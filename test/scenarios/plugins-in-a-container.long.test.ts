import { pluginScenarios } from './plugins.ts'

pluginScenarios('a container')
