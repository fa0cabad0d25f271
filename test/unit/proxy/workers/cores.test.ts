// How many workers `auto` is: what the kernel would let run at once, whatever the machine has.
import { expect, test } from 'vitest'
import { cpuQuota, usableCores } from '../../../../proxy/workers/cores.ts'

const files =
  (all: Readonly<Record<string, string>>) =>
  (file: string): string | undefined =>
    all[file]

test.each([
  ['no control group at all', {}, Infinity],
  ['v2 without a quota', { '/sys/fs/cgroup/cpu.max': 'max 100000\n' }, Infinity],
  ['v2 in a container', { '/sys/fs/cgroup/cpu.max': '150000 100000\n' }, 1.5],
  [
    'v2: the group, or one that it is in, whichever is less',
    {
      '/proc/self/cgroup': '0::/system.slice/postern.service\n',
      '/sys/fs/cgroup/system.slice/postern.service/cpu.max': '400000 100000\n',
      '/sys/fs/cgroup/system.slice/cpu.max': '200000 100000\n',
    },
    2,
  ],
  [
    'v1 with a quota',
    {
      '/proc/self/cgroup': '4:memory:/a\n3:cpu,cpuacct:/docker/x\n',
      '/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us': '50000\n',
      '/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us': '100000\n',
    },
    0.5,
  ],
  [
    'v1 without one',
    {
      '/proc/self/cgroup': '3:cpu,cpuacct:/\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    },
    Infinity,
  ],
  ['what cannot be read counts as no quota', { '/sys/fs/cgroup/cpu.max': '\0\0' }, Infinity],
])('%s', (_name, all, quota) => {
  expect(cpuQuota(files(all))).toBe(quota)
})

test.each([
  [8, 'max 100000', 8],
  [8, '250000 100000', 2],
  [2, '25000 100000', 1],
  [1, '400000 100000', 1],
])('%i processors under a quota of "%s": %i workers', (parallel, quota, workers) => {
  expect(usableCores(files({ '/sys/fs/cgroup/cpu.max': quota }), parallel)).toBe(workers)
})
