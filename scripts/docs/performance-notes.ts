/** What the figures of docs/performance.md do not say by themselves: where the time goes, what was tried, what is missed and why. */
export const NOTES = `## What misses its target, and why

**One stream against \`ssh -R\`** (two runs: 0.49 and 0.55 up, 0.77 and 0.72 down, target 0.85; 1.3 to 1.7 of one WebSocket for each stream). Profile of proxy and agent under bulk (\`perf record\`, busy machine): AES-GCM 17 %, copying in user space 11 %, copying in
the kernel 11 %, the rest spread thin; nothing of ours above 2 %, the garbage collector gone. A TLS hop between two Node processes with reused memory takes 1.2 s/GB by itself (0.62 to send, 0.59 to receive),
\`ssh\` and \`sshd\` together 1.1 to 1.9 with two hops and their own copies. What is left is inside Node: OpenSSL through memory BIOs (two more copies than a socket BIO), a call into JavaScript
for each 16 KiB record, no kernel TLS.
Tried: \`ws\` with fragments, writev instead of one copied message (no difference), writes of 16, 64 and 256 KiB (no difference above 16), V8 heap flags (move the cost around), 'data' events
against a reused buffer (receiving 0.94 to 0.59 s/GB), new against reused write buffers (0.83 to 0.62).

**Echo on an idle tunnel** (1.43 of \`ssh -R\` at p50, 1.75 at p99, target 1.2): as the same path without a multiplexer, 184 against 182 µs, so frames, windows and watching cost nothing that shows; what is above \`ssh\` is what reading and
writing TLS in two Node processes takes. Looked through: no timer and no pacing is in its way; a lone message goes out in the turn of the event loop that read it, in one write; Nagle is off on every leg. It was on at the user's side of
\`postern proxy app\`, which held back the second piece of an answer until the client acknowledged the first; it is off now. Not tried: a TLS hop without Node's streams.

**Both legs by WebSocket over TLS** (target 0.6 of one): 0.62 and 0.61 up, 0.79 and 0.56 down, in two runs: the machine is full, and what is left over for a leg varies.

**Echo beside bulk** (target 1.5 ms): 17 ms at p99, as \`ssh -R\` in the same run, 0.22 to 0.26 of the path without a multiplexer. What is on its way is bounded by the pacer; two cores shared by six processes that never rest
are the rest of it, and how much of it, only more cores would show.

**Streams opened per second** (target 4,000): 1,900, which is 4.1 of \`ssh -R\` and 0.74 of nginx in the same run. Processor time for each: 420 µs in proxy and agent together, as much as nginx needs. The
profile has a third in Node itself, a quarter in socket writes, nothing of ours above 3 %.

**A database through a tcp app** (target 0.6 of direct): 0.24 of direct (tpcb-like, seven statements each) and 0.26 (select only), with everything on the same two processors. Processor time of one select, profiler running:
proxy 180, agent 270, user's end 270 µs, while pgbench and PostgreSQL together need 120. Profile: a third of agent and of the user's end is encrypting and writing (TLS inside the stream, TLS of the tunnel, one system call for each message),
half of the proxy reading and writing, nothing of ours above 2.5 %. So with these processors the target is out of reach by a factor, and with one for each process the user's end would be the limit, near 4,000 statements a second for
one \`postern proxy app\`. Left to try: the inner TLS without Node's stream over a stream (JSStreamSocket), which passes each message through some twenty calls on both ends.

**Distance.** One stream over 100 ms was at 38 MB/s (target 40); on the same quiet machine it is at 56 now. The windows had grown to 8 MiB, but half of them was never used: credit was given back in halves, and what was just short of a half stayed with the receiver in every round.
In quarters, interleaved with the version before on a busy machine: 34.5 to 46.3 MB/s up, 33.7 to 45.9 down. The first transfer pays for the windows that grow. The relay alone passes 140 to 420 MB/s of plain TCP, whose ends do
not see the delay: it is not the limit.

**Suspect with traffic** (target 1 s): was 1.6 s (p99 2.1), because a second in which something was heard at its beginning was followed by another. Now there are ten looks in a second, and silence counts from the first thing that was sent into it.
What \`npm run bench:faults\` shows above a second is the time until there is traffic (50 ms), and the machine. And a download over a path that fell silent stood still for 16 s, once in five
blackholes: the proxy had nothing under way to the agent, and the agent, which noticed within a second, had no way left to say so. Who only receives asks now when data pauses: five of five 1.1 s.

**Joins per second** (target 400): this run's machine signs at 0.6 of the speed of the one before. Interleaved on one machine, joins are as fast as before or faster. The profile is flat: reading public keys 8 %, the embedded
engine's own checks 8 %, garbage 10 %, the rest spread over the SDK. The wait at half the load is a queue: this machine cannot do half the target at all.

**The bundle of \`join\`** (target 400 KB, 45 ms). By content, of 575 KB: the SDK 196, zod 103, our own join methods with the keys of all AWS regions 80, the stores 45, jose 30, hono 25, certificates 26, limits and errors with their texts 23.
Done: credentials by environment alone, no endpoint discovery, no event streams (601 to 575 KB; import 108 to 98 ms of processor time, interleaved). Without any SDK it would be 378 KB and still three quarters of the time:
what takes it is V8 compiling the file and zod making some hundred schemas, those of rows and resources that this verb never reads among them. Left to try: schemas made when they are first used; zod's smaller form.

**DynamoDB requests of a join.** By every method but \`token\`, whose secret leads to its name first, one read less than before: the token that was read before the evidence is not read again after it. Left: the locks of the token are
read before the commit, so that a locked token changes nothing, and after it, so that nothing is signed by one that was locked meanwhile.

**ssh through everything.** Four runs on a quiet machine: bulk 0.70, 0.74, 0.79 and 0.74 of \`ssh -J\` (0.59 before), \`ssh node true\` 1.10, 0.93, 1.01 and 1.05; the table has the last. By processor time of the whole path half was the agent (a thread that speaks SSH, the main thread that speaks the tunnel, and V8's helpers), a fifth the
ProxyCommand, a fifth the proxy, 6 % \`ssh\` itself. Since then, interleaved with the version before on a busy machine, 5 rounds of 256 MiB: the agent 14.3 to 10.0 s/GB (packets by one context of OpenSSL, docs/adr/0033: sealing 32 KiB 47 to 20 µs,
opening it 38 to 26), ProxyCommand 6.6 to 5.3 (pieces gathered in memory that is used again). Tried before: memory that goes back and forth between the two threads. Left to try: encrypting straight into the memory that goes
to the main thread, which would save one copy; chacha20, which OpenSSH takes without our configuration and which is still ssh2's own code.

**Ten thousand agents** (target 20 s unpaced, 60 s paced, 38 KiB for each tunnel): 60 and 65 s with everything on the same two processors, of which the ten thousand clients take 76 to 82 s of processor time and the proxy 43 to 46. So the
proxy, on one processor of its own, would need some 45 s: 4.3 to 4.6 ms for each return (TLS, two signatures to check and one to make, a row to write). The machine was saturated all the while, so pacing had nothing to spread. What is faster needs more
processors, a worker each. Of the 46 KiB of an idle tunnel 14 are objects, 2 buffers, the rest native, most of it TLS. Not measured: the control plane's processor time; agents sent it nothing, the proxy two requests.
Profile of 800 returning agents (\`perf record\`, very busy machine): flat; TLS 18 % (of it 4 are Node reading the proxy's certificate a second time, 4 the keys in certificates), the allocator 5, collecting young objects 3 to 5, the optimising compiler 2, the rest
V8 and Node spread thin. What could be cut is not one thing. Resuming TLS sessions is not done and was not measured: a restarted proxy has other ticket keys.

**Streams opened by two workers** (0.85 of one process in the table, target 1.5). The figure measured the ends and not the proxy. By processor time, busy machine, each of some hundred streams: 37 to 58 ms for everything together (user and
agent sign, check and shake hands inside, the agent writes down, the control plane takes that up), of which one process of a proxy takes 2.0 to 4.0 ms, cold to warm, and two workers 1.6 to 2.8 ms each. Two processors are full at some 54 streams per second
whatever the proxy does, which is what both sides had. The bench now says what the busiest process of the proxy takes for each, spreads the four users over both workers (they had landed by chance) and warms up both sides. By that the
busier of two workers takes 0.62, 0.70 and 0.85 of one process (three rounds, users where they landed), where 0.67 is room for 1.5 times as many: each of two hops asks for a sign of life with each request, decodes it and encodes it again. A part
of it is what each worker does while idle, which counts for much at 30 streams per second. Left to try: one probe for all requests that are under way over the same hop; handing the request on without decoding it twice.

**Idle agent** (target 60 MiB). A bare \`node\` takes 40 (34 of them its own program and libraries, shared with every other Node process), the agent 44 of those pages, because TLS, signatures and the optimising compiler run once (3.7 for the
compiler alone), and 17 to 18 of its own: 12 of JavaScript heap, the rest OpenSSL and the allocator. The heap is code, most of it text and shapes of yaml (157 KB of source), zod (154), the tunnel (56), jose (46).
After its start an agent holds 9 more until V8's memory reducer has run, half a minute later on a quiet machine: earlier figures were taken after eight seconds, this one after a minute. Done, each against the version before, on a busy machine:
join methods loaded when one is needed, Node's roots shared in place of read anew for each trust (60 ms of processor time each), 65.3 to 61.4; freed memory given back to the system, 61.9 to 60.9; no option parser where systemd starts it, no difference in a checkout.
Tried: all of the agent in one file (heap 11.0 to 10.3 MiB, the rest as before), V8's flags (\`--max-semi-space-size=1\` takes away the 9 at once, but flags must stand before the start; \`--no-opt\` 5, but for good).
Its processor time is mostly that one collection; which timers wake it was not counted one by one.

**One more ssh session** (target 45 MiB). A process of its own that drops root, 47, of which a bare \`node\` is 40 and 37 are shared pages; a thread that speaks SSH, 15 to 18, of which an empty one is 7.6; the user's program. Shared pages divided among those
who map them, a session takes 25. The target cannot be met by a process of Node and a thread; a helper that is not Node would be what is left to do. Done: a small young generation for the thread (17.5 to 14 to 15 MiB when it waits; under bulk the peak of the agent
188 to 150, with the same processor time for a GiB, 10.8 against 11.2 s, interleaved). Tried for the process: V8's flags and fewer threads, no difference. Left to try: no zod in the thread, some 4 MiB. The figure before, 72.6, had a fifth of the spare thread in it.

**Not measured.** chisel (not in Debian). Network distance by \`tc netem\`: the module is missing on the machine that these figures are from, so a delaying relay stands in,
and \`test/unit/tunnel/distance.test.ts\` holds the windows to 40 MB/s over 100 ms in virtual time.
`
