#!/usr/bin/env python3
"""Run the relays one at a time through every relaybench phase and keep the JSON.

usage: runpeers.py --scratch DIR --events FILE --out DIR [--runs N] [--duration S] [--peers a,b] [--phases ...]

DIR holds the relays, their conf/ and a relaybench binary, as README.md lays it out.
Each run starts from an empty data directory.
"""
import argparse, json, os, shutil, socket, subprocess, sys, time

PEERS = {
    # name: (port, data directory, command)
    "strfry": (7801, "data/strfry", ["strfry/strfry", "--config", "conf/strfry.conf", "relay"]),
    "nostr-rs-relay": (7802, "data/nrr", ["bin/nostr-rs-relay", "--config", "conf/nrr.toml", "--db", "data/nrr"]),
    "rnostr": (7803, "data/rnostr", ["bin/rnostr", "relay", "-c", "conf/rnostr.toml"]),
    "chorus": (7804, "data/chorus", ["bin/chorus", "conf/chorus.toml"]),
    "relay-builder": (7805, "data/rb", ["bin/rbuilder-relay", "data/rb", "7805"]),
}

ap = argparse.ArgumentParser()
ap.add_argument("--scratch", required=True)
ap.add_argument("--events", required=True)
ap.add_argument("--out", required=True)
ap.add_argument("--runs", type=int, default=2)
ap.add_argument("--first-run", type=int, default=1)
ap.add_argument("--duration", default="10")
ap.add_argument("--peers", default=",".join(PEERS))
ap.add_argument("--phases", default="ingest,verify,query,fanout,idle")
ap.add_argument("--window", default="100")
ap.add_argument("--idle-conns", default="2000")
# any other relay: --extra NAME PORT DATADIR CMD...
ap.add_argument("--extra", nargs=argparse.REMAINDER)
a = ap.parse_args()
if a.extra:
    PEERS[a.extra[0]] = (int(a.extra[1]), a.extra[2], a.extra[3:])
    if a.peers == ",".join(k for k in PEERS if k != a.extra[0]):
        a.peers = a.extra[0]
os.chdir(a.scratch)
os.makedirs(a.out, exist_ok=True)


def up(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def sectors():
    """Sectors written to all whole disks since boot. (A process's own write_bytes is no use: the kernel
    counts a whole large folio for each page dirtied in it.)"""
    n = 0
    for l in open("/proc/diskstats"):
        f = l.split()
        if os.path.exists(f"/sys/block/{f[2]}/device"):
            n += int(f[9])
    return n


def bench(*args):
    p = subprocess.run(["./relaybench", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    last = (p.stdout.strip().splitlines() or [""])[-1]
    try:
        d = json.loads(last)
    except ValueError:
        d = {"failed": p.stderr[-600:]}
    d["mismatches"] = [l for l in p.stderr.splitlines() if l.startswith("MISMATCH")]
    return d


for run in range(a.first_run, a.first_run + a.runs):
    for name in a.peers.split(","):
        port, data, cmd = PEERS[name]
        shutil.rmtree(data, ignore_errors=True)
        os.makedirs(data)
        log = open(f"{a.out}/{name}-{run}.log", "w")
        load = os.getloadavg()[0]
        p = subprocess.Popen(cmd, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        r = {"peer": name, "run": run, "load_before": load}
        try:
            if not up(port):
                print(name, "did not start", file=sys.stderr)
                continue
            time.sleep(0.5)
            url, pid, ev = f"ws://127.0.0.1:{port}", str(p.pid), a.events
            ph = a.phases.split(",")
            if "ingest" in ph:
                subprocess.run(["sync"])
                s0 = sectors()
                r["ingest"] = bench("ingest", "--url", url, "--file", ev, "--conns", "8", "--window", a.window, "--pid", pid,
                                    *(["--no-ephemeral-ok"] if name == "nostr-rs-relay" else []))
                subprocess.run(["sync"])
                r["disk_writes_mb"] = (sectors() - s0) * 512 / 1e6
                time.sleep(2)
                r["disk_mb"] = int(subprocess.check_output(["du", "-sk", data]).split()[0]) / 1024
            if "verify" in ph:
                r["verify"] = bench("verify-corr", "--url", url, "--file", ev)
            if "query" in ph:
                r["query"] = bench("query", "--url", url, "--file", ev, "--conns", "8", "--duration", a.duration, "--pid", pid)
            if "fanout" in ph:
                r["fanout"] = bench("fanout", "--url", url, "--conns", "100", "--subs", "10", "--publish", "2000", "--pid", pid)
            if "idle" in ph:
                r["idle"] = bench("idle", "--url", url, "--conns", a.idle_conns, "--pid", pid)
                time.sleep(2)
            r["alive"] = p.poll() is None
            st = open(f"/proc/{p.pid}/status").read() if r["alive"] else ""
            r["peak_rss_mb"] = next((int(l.split()[1]) // 1024 for l in st.splitlines() if l.startswith("VmHWM")), None)
        finally:
            p.terminate()
            try:
                p.wait(15)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
            log.close()
        with open(f"{a.out}/{name}-{run}.json", "w") as f:
            json.dump(r, f)
        i = r.get("ingest", {})
        print(name, run, "ingest/s", i.get("events_per_s"), "verify wrong", r.get("verify", {}).get("wrong"), flush=True)
