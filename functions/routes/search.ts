/** The filters of small lists that the table does not search itself. */
import type { Labels } from '../../core/domain/name.ts'

export interface SearchFilter {
  readonly labels?: Labels | undefined
  readonly search?: string | undefined
}

/** Every label given must be there; the text is part of the name or of a label's value, in any case of letters. */
export function matchesSearch(
  item: { readonly name: string; readonly labels?: Labels },
  filter: SearchFilter,
): boolean {
  const labels = item.labels ?? {}
  const wanted = Object.entries(filter.labels ?? {})
  if (!wanted.every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value))
    return false
  const text = filter.search?.toLowerCase()
  return (
    text === undefined ||
    [item.name, ...Object.values(labels)].some((one) => one.toLowerCase().includes(text))
  )
}
