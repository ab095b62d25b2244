#!/usr/bin/env python3
"""Download and seeding one to one, ours beside libtorrent's, in interleaved rounds.

    tests/bench/pair.py [--mib 2048] [--rounds 10] [--store /dev/shm] [--bin target/release/trackerless]
                        [--python target/peers-venv/bin/python]

Each round runs each of the pairs (seed -> leech) once, so that a slow minute hits all alike. Figures are the median of the
rounds: seconds from start to complete, and CPU seconds of either process meanwhile; then the ratio to libtorrent's
pair, round by round, with its quartiles. Traffic is on loopback only. The content is compared after each run.
"""
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from rounds import interleave, options

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


def cpu(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def spawn(*command):
    return subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.file = os.path.join(folder, "seed", "data.bin")
        os.mkdir(os.path.dirname(self.file))
        with open(self.file, "wb") as out, open("/dev/urandom", "rb") as random:
            for _ in range(args.mib):
                out.write(random.read(1 << 20))
        self.torrent = os.path.join(folder, "data.torrent")
        subprocess.run([args.bin, "create", self.file, "-o", self.torrent, "--piece-length", str(args.piece << 10)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = 20000

    def seed(self, kind, ip, port):
        if kind == "libtorrent":
            process = spawn(self.args.python, f"{HERE}/libtorrent_peer.py", "seed", self.torrent,
                            os.path.dirname(self.file), ip, port)
            process.stdout.readline()
        else:
            process = spawn(self.args.bin, "seed", self.file, "--no-dht", "--json", "--bind", f"{ip}:{port}",
                            "--piece-length", self.args.piece << 10)
            while json.loads(process.stdout.readline())["event"] != "serving":
                pass
        return process

    def leech(self, kind, out, ip, port, peer):
        """Seconds to complete, and the leech's CPU seconds."""
        if kind == "libtorrent":
            process = spawn(self.args.python, f"{HERE}/libtorrent_peer.py", "get", self.torrent, out, ip, port, *peer)
            process.stdout.readline()
            before = cpu(process)
            process.stdin.write("go\n")
            process.stdin.flush()
            seconds = float(process.stdout.readline())
        else:
            start, before = time.monotonic(), 0.0
            process = spawn(self.args.bin, "get", self.torrent, "--no-dht", "--json", "--seed", "--bind",
                            f"{ip}:{port}", "--peer", f"{peer[0]}:{peer[1]}", "-o", out)
            while json.loads(process.stdout.readline())["event"] != "done":
                pass
            seconds = time.monotonic() - start
        used = cpu(process) - before
        process.kill()
        process.wait()
        return seconds, used

    def run(self, seed_kind, leech_kind):
        self.port += 2
        out = os.path.join(self.folder, "out")
        seed = self.seed(seed_kind, "127.0.0.2", self.port)
        try:
            before = cpu(seed)
            seconds, leech_cpu = self.leech(leech_kind, out, "127.0.0.3", self.port + 1, ("127.0.0.2", self.port))
            seed_cpu = cpu(seed) - before
        finally:
            seed.kill()
            seed.wait()
        if not filecmp.cmp(self.file, os.path.join(out, "data.bin"), shallow=False):
            sys.exit(f"{seed_kind} -> {leech_kind}: what came is not what was sent")
        shutil.rmtree(out)
        return {"seconds": seconds, "seed_cpu": seed_cpu, "leech_cpu": leech_cpu}


def main():
    parser = options(__doc__)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--piece", type=int, default=1024, help="KiB")
    args = parser.parse_args()
    pairs = [("libtorrent", "libtorrent"), ("ours", "ours"), ("libtorrent", "ours"), ("ours", "libtorrent")]
    with tempfile.TemporaryDirectory(dir=args.store) as folder:
        bench = Bench(args, folder)
        results = interleave(bench, pairs, args.rounds)
    gib = args.mib / 1024
    print(f"{args.mib} MiB, pieces of {args.piece} KiB, {args.rounds} rounds, store {args.store}\n")
    print("| seed -> leech | MiB/s | leech CPU s/GiB | seed CPU s/GiB | time ratio | leech CPU ratio | seed CPU ratio |")
    print("|---|---|---|---|---|---|---|")
    base = results[pairs[0]]
    for pair in pairs:
        rows = results[pair]
        median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        ratios = []
        for key in ("seconds", "leech_cpu", "seed_cpu"):
            values = sorted(row[key] / max(other[key], 1e-9) for row, other in zip(rows, base))
            quarter = len(values) // 4
            ratios.append(f"{statistics.median(values):.2f} ({values[quarter]:.2f}-{values[-1 - quarter]:.2f})")
        print(f"| {pair[0]} -> {pair[1]} | {args.mib / median['seconds']:.0f} | {median['leech_cpu'] / gib:.2f} "
              f"| {median['seed_cpu'] / gib:.2f} | {' | '.join(ratios)} |")


main()
