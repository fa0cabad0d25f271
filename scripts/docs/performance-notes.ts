/** What the figures of docs/performance.md do not say by themselves: where the time goes, what was tried, what is missed and why. */
export const NOTES = `## What misses its target, and why

**One stream against \`ssh -R\`** (0.66 to 1.0, target 0.85). Profile of proxy and agent under bulk (\`perf record\`, busy machine): AES-GCM 17 %, copying in user space 11 %, copying in
the kernel 11 %, the rest spread thin; nothing of ours above 2 %, the garbage collector gone. A TLS hop between two Node processes with reused memory takes 1.2 s/GB by itself (0.62 to send, 0.59 to receive),
\`ssh\` and \`sshd\` together 1.1 to 1.9 with two hops and their own copies. What is left is inside Node: OpenSSL through memory BIOs (two more copies than a socket BIO), a call into JavaScript
for each 16 KiB record, no kernel TLS.
Tried: \`ws\` with fragments, writev instead of one copied message (no difference), writes of 16, 64 and 256 KiB (no difference above 16), V8 heap flags (move the cost around), 'data' events
against a reused buffer (receiving 0.94 to 0.59 s/GB), new against reused write buffers (0.83 to 0.62).

**Echo beside bulk** (target 1.5 ms). On a machine with a load of 20 on two cores no figure in milliseconds means anything: \`ssh -R\` itself took 150 ms. The ratio does: 0.3 of \`ssh -R\` at p99,
where the target is 1.5 to 2.5 = 0.6.

**Streams opened per second** (target 4,000): limited by processor time for each open in four processes. Counted on a busy machine: user 120 µs and target 115 µs, which are bare sockets of Node, proxy 205 and agent 205, each 1.85 times such a
socket (2.0 before errors for streams that end well were gone). On two processors the bare sockets alone allow 4,300 per second. Profile of the proxy: a quarter in writing sockets (1.1 records of TLS for each open, so they are gathered already), a third in Node's
sockets, a fifth ours with nothing above 3 %. The figure fell from 2,526 to 568 with the load of the machine, not with the code: \`ws\` without a multiplexer fell from 476 to 130 in the same rows.

**ssh through everything** (target 0.7 of \`ssh -J\`). By processor time of the whole path: half is the agent (a thread that speaks SSH, the main thread that speaks the tunnel, and V8's helpers), a fifth the
ProxyCommand, a fifth the proxy, 6 % \`ssh\` itself. Without ssh2's native part, which needs a compiler at installation, each packet of 32 KiB makes a cipher object and two buffers in JavaScript: 50 full
collections in half a gigabyte. Tried: memory that goes back and forth between the two threads (28 full collections of the main thread became one; 6 to 20 % more throughput on a busy machine, the same processor time).
Not tried yet: a prebuilt native part.

**Not measured.** chisel (not in Debian). pgbench: the database service does not exist yet. Network distance by \`tc netem\`: the module is missing on the machine that these figures are from, so a delaying relay stands in,
and \`test/unit/tunnel/distance.test.ts\` holds the windows to 40 MB/s over 100 ms in virtual time.
`
