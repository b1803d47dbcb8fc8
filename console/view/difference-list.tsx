import type { Difference } from '../model/contract.ts'
import { Scalar, ValueTree } from './value-tree.tsx'

/** What one record changed. */
export function DifferenceList({ differences }: { readonly differences: readonly Difference[] }) {
  if (differences.length === 0) return <p class="quiet">Nothing changed.</p>
  return (
    <table class="differences">
      <thead>
        <tr>
          <th scope="col">Where</th>
          <th scope="col">Before</th>
          <th scope="col">After</th>
        </tr>
      </thead>
      <tbody>
        {differences.map(({ path, before, after }) => (
          <tr key={path}>
            <th scope="row">{path || 'all'}</th>
            <td class="before">
              <Side value={before} />
            </td>
            <td class="after">
              <Side value={after} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function Side({ value }: { readonly value: unknown }) {
  if (typeof value === 'object' && value !== null) return <ValueTree value={value} />
  return <Scalar value={value} />
}
