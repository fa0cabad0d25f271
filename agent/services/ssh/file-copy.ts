/**
 * What in an SSH session copies files. It names the well-known ways (sftp, scp, rsync), so that a role can switch them off
 * and the audit log can show them; whoever has a shell has other ways, which docs/roles.md says.
 */

const REMOTE_SCP = /(?:^|[\s;&|/])scp(?:\s+-[a-zA-Z]+)*\s+-[a-zA-Z]*[tf]/
const REMOTE_RSYNC = /(?:^|[\s;&|/])rsync\s+--server\b/
const SFTP_SERVER = /(?:^|[\s;&|/])sftp-server(?:\s|$)/

export type FileCopy = 'scp' | 'rsync' | 'sftp'

/** Which way of copying a command is the remote half of. */
export function fileCopyOf(command: string): FileCopy | undefined {
  if (REMOTE_SCP.test(command)) return 'scp'
  if (REMOTE_RSYNC.test(command)) return 'rsync'
  if (SFTP_SERVER.test(command)) return 'sftp'
  return undefined
}
