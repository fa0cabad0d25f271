/** Names of virtual machines in Azure Resource Manager, read strictly: what is read becomes part of an address that we call. */

export interface VmResource {
  /** UUID, lower case. */
  readonly subscription: string
  /** As given; compared without regard to case, as Azure does. */
  readonly resourceGroup: string
  readonly name: string
  /** Path of the VM, made anew from its parts. */
  readonly path: string
}

const VM =
  /^\/subscriptions\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\/resourcegroups\/([\w().-]{1,90})\/providers\/microsoft\.compute\/virtualmachines\/([A-Za-z0-9][\w.-]{0,63})$/i

/** undefined for whatever is not one VM: a scale set, an identity, a path with anything odd in it. */
export function vmResource(id: string): VmResource | undefined {
  const [, subscription = '', resourceGroup = '', name = ''] = VM.exec(id) ?? []
  // Dots alone would climb.
  if (name === '' || /^\.+$/.test(resourceGroup) || resourceGroup.endsWith('.')) return undefined
  const lower = subscription.toLowerCase()
  const group = encodeURIComponent(resourceGroup)
  const path = `/subscriptions/${lower}/resourceGroups/${group}/providers/Microsoft.Compute/virtualMachines/${encodeURIComponent(name)}`
  return { subscription: lower, resourceGroup, name, path }
}
