import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createMachine } from 'xstate'
import { describeMachine, type MachineDescription } from '../../src/diagram/describe.ts'
import { toMermaid } from '../../src/diagram/mermaid.ts'
import { everything } from './fixture.ts'

const mermaidOf = (config: object) => toMermaid(describeMachine(createMachine(config as never)))
const linesOf = (text: string) => text.split('\n').map((line) => line.trim())

describe('mermaid', () => {
  test('tells the whole machine', () => {
    expect(toMermaid(describeMachine(everything))).toMatchInlineSnapshot(`
      "stateDiagram-v2
        direction TB
        state "runtime · skip / ignored" as runtime {
          state "idle" as runtime_idle
          runtime_idle : entry / raise wake after 30 s
          runtime_idle : entry / assign
          runtime_idle : exit / cancel wake
          runtime_idle : tick / emit noticed
          runtime_idle : #35;calm
          state "staging · resume → hist" as runtime_staging {
            state "downloading" as runtime_staging_downloading
            runtime_staging_downloading : do / download
            state "verifying" as runtime_staging_verifying
            runtime_staging_verifying : do / verify
            state "staged" as runtime_staging_staged
            runtime_staging_staged : entry / conclude (staged)
            state "failed" as runtime_staging_failed
            runtime_staging_failed : after 5 s / setPointer
            state "H#42;" as runtime_staging_hist
            [*] --> runtime_staging_downloading
            runtime_staging_downloading --> runtime_staging_verifying : done
            runtime_staging_downloading --> runtime_staging_failed : failed / inline
            runtime_staging_verifying --> runtime_staging_staged : done [not banned]
            runtime_staging_verifying --> runtime_staging_failed : done [else]<br/>failed
            runtime_staging_failed --> runtime_staging_downloading : after backOff
            runtime_staging_hist --> runtime_staging_verifying : no history yet
          }
          state "activating" as runtime_activating {
            state "pointer" as runtime_activating_pointer {
              state "old" as runtime_activating_pointer_old
              state "flipped" as runtime_activating_pointer_flipped
              [*] --> runtime_activating_pointer_old
              runtime_activating_pointer_old --> runtime_activating_pointer_flipped : tick
            }
            --
            state "health" as runtime_activating_health {
              state "probing" as runtime_activating_health_probing
              state "ok" as runtime_activating_health_ok
              state "sick" as runtime_activating_health_sick
              [*] --> runtime_activating_health_probing
              runtime_activating_health_probing --> runtime_activating_health_sick : tick [inline]
              runtime_activating_health_probing --> runtime_activating_health_ok : after 500 ms
              runtime_activating_health_sick --> runtime_activating_health_probing : any event
            }
          }
          state "probation" as runtime_probation
          state "rollingBack" as runtime_rollingBack
          state "quarantined" as runtime_quarantined
          [*] --> runtime_idle
          runtime_idle --> runtime_staging : start [signed]<br/>wake
          runtime_staging --> runtime_idle : stop
          runtime_staging --> runtime_staging : retry (re-enters)
          runtime_staging --> runtime_activating : done
          runtime_activating --> runtime_rollingBack : stop / setPointer, conclude (stopped)
          runtime_activating --> runtime_probation : done
          runtime_probation --> runtime_probation : tick (re-enters)
          runtime_probation --> runtime_idle : after probation (1 min 30 s)
          runtime_rollingBack --> runtime_quarantined : [banned and quiet (100)]
          runtime_rollingBack --> runtime_idle : [else]
        }
        state "pty" as pty {
          state "attached" as pty_attached
          state "handingOff" as pty_handingOff {
            state "freezing" as pty_handingOff_freezing
            state "passing" as pty_handingOff_passing
            pty_handingOff_passing : do / handoff
            state "resuming" as pty_handingOff_resuming
            [*] --> pty_handingOff_freezing
            pty_handingOff_freezing --> pty_handingOff_passing : tick
            pty_handingOff_passing --> pty_handingOff_resuming : done
          }
          state "detached" as pty_detached
          [*] --> pty_attached
          pty_attached --> pty_handingOff : detach [in runtime.idle]
          pty_attached --> pty_detached : detach [else]<br/>poll.#42;
          pty_handingOff --> pty_attached : after 5 s
          pty_detached --> pty_attached : attach
        }
        runtime_quarantined --> runtime_staging_verifying : retry
        pty_handingOff_passing --> pty_attached : failed
        pty_handingOff_resuming --> pty_attached : resume
        classDef final stroke-width:3px
        classDef active fill:#e3f0ff,stroke:#0b6bcb,stroke-width:3px,color:#1c2330
        class runtime_staging_staged final
        class runtime_activating_pointer_flipped final
        class runtime_activating_health_ok final
      "
    `)
  })

  test('gives a parallel root no box and puts its regions side by side', () => {
    const text = mermaidOf({ id: 'm', type: 'parallel', states: { one: {}, two: {} } })
    expect(linesOf(text).slice(2, 4)).toEqual(['state "one" as one', 'state "two" as two'])
    expect(text).not.toContain('--\n')
  })

  test('writes an arrow between siblings beside them and every other one at the end, where it moves no state', () => {
    const text = mermaidOf({
      id: 'm',
      initial: 'out',
      states: {
        out: { on: { in: 'box', deep: '#m.box.b' } },
        box: { initial: 'a', states: { a: { on: { next: 'b', leave: '#m.out' } }, b: {} } },
      },
    })
    expect(text).toContain('    box_a --> box_b : next\n  }\n')
    expect(text).toContain('  out --> box : in\n  out --> box_b : deep\n  box_a --> out : leave\n  classDef')
  })

  test('ends no arrow of the root at a composite with regions, in a region, or around the other end', () => {
    const text = mermaidOf({
      id: 'm',
      initial: 'out',
      states: {
        out: { initial: 'x', states: { x: { on: { whole: '#m.box', region: '#m.box.left', up: '#m.out' } } } },
        box: {
          type: 'parallel',
          states: { left: { initial: 'a', states: { a: {} } }, right: { initial: 'b', states: { b: {} } } },
        },
      },
    })
    expect(linesOf(text)).toEqual(
      expect.arrayContaining(['out_x --> box_left_a : whole<br/>region', 'out_x --> out_x : up']),
    )
  })

  test('writes a way of a region to itself inside that region', () => {
    const text = mermaidOf({
      id: 'm',
      initial: 'box',
      states: {
        box: { type: 'parallel', states: { left: { on: { again: { target: 'left', reenter: true } } }, right: {} } },
      },
    })
    expect(text).toContain('state "left" as box_left\n    box_left --> box_left : again (re-enters)\n    --\n')
  })

  test('puts a way from a composite into itself, or from the machine as a whole, into a title', () => {
    const text = mermaidOf({
      id: 'm',
      initial: 'box',
      on: { stop: '.end' },
      states: { box: { initial: 'a', on: { skip: '.b' }, states: { a: {}, b: {} } }, end: { type: 'final' } },
    })
    expect(text).toContain('state "box · skip → b" as box {')
    expect(text).toContain('state "m" as m\n  m : stop → end\n')
  })

  test('draws one arrow for all ways from one state to another', () => {
    const text = mermaidOf({
      id: 'm',
      initial: 'a',
      states: { a: { on: { one: 'b', two: { target: 'b', guard: 'sure' } } }, b: {} },
    })
    expect(linesOf(text)).toContain('a --> b : one<br/>two [sure]')
  })

  test('marks ends, and what is active, on leaves', () => {
    const description = describeMachine(
      createMachine({ id: 'm', initial: 'a', states: { a: {}, end: { type: 'final' } } }),
    )
    const marks = linesOf(toMermaid(description, { active: new Set(['m', 'm.a']) })).filter((line) =>
      line.startsWith('class '),
    )
    expect(marks).toEqual(['class a active', 'class end_ final'])
  })

  test('takes no hostile character and no reserved word for syntax', () => {
    const text = mermaidOf({
      id: 'end',
      initial: 'a:b',
      states: {
        'a:b': { on: { 'x --> "y"; %% <b>#58;': { target: 'state', guard: 'is`it`{so}' } } },
        state: {},
        'a;b': {},
        '--': {},
        A_B: {},
        root: {},
        'direction LR': {},
      },
    })
    expect(linesOf(text).slice(2, 11)).toMatchInlineSnapshot(`
      [
        "state "a#58;b" as a_b",
        "state "state" as state_",
        "state "a#59;b" as a_b_2",
        "state "#45;#45;" as __",
        "state "A#95;B" as A_B_3",
        "state "root" as root_",
        "state "direction#32;LR" as direction_LR",
        "[*] --> a_b",
        "a_b --> state_ : x #45;#45;#62; #34;y#34;#59; #37;#37; #60;b#62;#35;58#59; [is#96;it#96;#123;so#125;]",
      ]
    `)
  })

  const hostile = fc.string({
    unit: fc.constantFrom(...'ab:;#"<>{}[]%`&*_~\\-\n\r\t \u2028é日'),
    minLength: 1,
    maxLength: 8,
  })

  test('keeps to its few forms of a line, whatever states and events are called', () => {
    const text = String.raw`(#\d+;|-(?!-)|[^#\-:;"<>{}%\x60&*_~\\\s]| )*`
    const forms = [
      /^(stateDiagram-v2|direction TB|--|\}|classDef .*|class \w+ (final|active)|)$/,
      new RegExp(`^state "${text}" as \\w+( \\{)?$`),
      new RegExp(`^(\\[\\*\\]|\\w+) --> \\w+( : ${text}(<br/>${text})*)?$`),
      new RegExp(`^\\w+ : ${text}$`),
    ]
    fc.assert(
      fc.property(hostile, fc.uniqueArray(hostile, { minLength: 1, maxLength: 6 }), hostile, (id, keys, event) => {
        const nodes: MachineDescription['nodes'] = [
          {
            id,
            key: id,
            parent: null,
            type: 'compound',
            initial: { target: `${id}.${keys[0]}`, actions: [event] },
            entry: [],
            exit: [],
            invoke: [],
          },
          ...keys.map((key) => ({
            id: `${id}.${key}`,
            key,
            parent: id,
            type: 'atomic' as const,
            entry: [event],
            exit: [],
            invoke: [],
          })),
        ]
        const edge = { kind: 'event', event, trigger: event, guard: event, actions: [event], reenter: false } as const
        const edges = keys.map((key) => ({ id: key, source: `${id}.${key}`, targets: [`${id}.${keys[0]}`], ...edge }))
        const lines = linesOf(toMermaid({ id, nodes, edges }))
        for (const line of lines)
          expect(
            forms.some((form) => form.test(line)),
            line,
          ).toBe(true)
        const names = lines.flatMap((line) => /^state ".*" as (\w+)$/.exec(line)?.[1]?.toLowerCase() ?? [])
        expect(new Set(names).size).toBe(keys.length)
      }),
    )
  })
})
