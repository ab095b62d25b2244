#!/usr/bin/env python3
"""From a bare info-hash to the metadata and to the whole file, ours beside libtorrent's, in interleaved rounds.

    tests/bench/magnet.py [--nodes 50] [--mib 64] [--rounds 10] [--store /dev/shm]
                          [--bin target/release/trackerless] [--python target/peers-venv/bin/python]

An overlay of libtorrent nodes on loopback is the same for both. Each round has info-hashes of its own, a seed that
lookups find before the clock starts, and one leech of each kind after the other; the seed is libtorrent's in one half
of the runs and ours in the other. The clock runs from just before the leech's process is started. Figures are medians
of the rounds with their quartiles, in milliseconds.
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
PORT = 20881


def spawn(*command, **options):
    return subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            **options)


class Overlay:
    """libtorrent nodes in one process that all know some of the others."""

    def __init__(self, args):
        self.nodes = [f"127.0.10.{i + 1}:{PORT}" for i in range(args.nodes)]
        script = os.path.join(HERE, "..", "peers", "libtorrent_node.py")
        self.process = spawn(args.python, "-u", "-W", "ignore", script, stdin=subprocess.PIPE)
        self.ask(op="start", listen=self.nodes, settings={})
        for session in range(args.nodes):
            for step in (1, 2, 5, 11):
                self.ask(op="add_node", session=session, node=self.nodes[(session + step) % args.nodes])
        while min(self.ask(op="dht")["nodes"]) < min(8, args.nodes - 1):
            time.sleep(0.2)

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert answer["ok"], answer
        return answer

    def wait_findable(self, info_hash):
        for session in (3, 17):
            while not self.ask(op="get_peers", session=session % len(self.nodes), info_hash_hex=info_hash,
                               seconds=3)["peers"]:
                pass


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder, self.runs = args, folder, 0
        self.overlay = Overlay(args)

    def seed(self, kind, file, torrent, ip, entry):
        if kind == "libtorrent":
            process = spawn(self.args.python, f"{HERE}/libtorrent_peer.py", "dht-seed", torrent, os.path.dirname(file),
                            ip, PORT, entry, stdin=subprocess.PIPE)
            process.stdout.readline()
        else:
            process = spawn(self.args.bin, "seed", file, "--json", "--bind", f"{ip}:{PORT}", "--bootstrap", entry,
                            "--piece-length", 256 << 10)
            while json.loads(process.stdout.readline())["event"] != "serving":
                pass
        return process

    def leech(self, kind, info_hash, out, ip, entry):
        """Seconds from just before the process's start to its metadata, and to the whole file."""
        start, metadata = time.monotonic(), None
        if kind == "libtorrent":
            process = spawn(self.args.python, f"{HERE}/libtorrent_peer.py", "dht-get", info_hash, out, ip, PORT, entry,
                            stdin=subprocess.PIPE)
        else:
            process = spawn(self.args.bin, "get", info_hash, "--json", "--seed", "--bind", f"{ip}:{PORT}",
                            "--bootstrap", entry, "-o", out)
        while True:
            event = json.loads(process.stdout.readline())["event"]
            if event == "metadata":
                metadata = time.monotonic() - start
            elif event == "done":
                break
        whole = time.monotonic() - start
        process.kill()
        process.wait()
        return metadata, whole

    def run(self, seed_kind, leech_kind):
        self.runs += 1
        n, nodes = self.runs, self.overlay.nodes
        file = os.path.join(self.folder, f"data{n}.bin")
        with open(file, "wb") as out, open("/dev/urandom", "rb") as random:
            for _ in range(self.args.mib):
                out.write(random.read(1 << 20))
        torrent = os.path.join(self.folder, f"data{n}.torrent")
        created = subprocess.run([self.args.bin, "create", file, "-o", torrent, "--json", "--piece-length",
                                  str(256 << 10)], check=True, capture_output=True, text=True)
        info_hash = json.loads(created.stdout)["info_hash"]
        seed = self.seed(seed_kind, file, torrent, f"127.0.20.{n}", nodes[n % len(nodes)])
        out = os.path.join(self.folder, "out")
        os.mkdir(out)
        try:
            self.overlay.wait_findable(info_hash)
            times = self.leech(leech_kind, info_hash, out, f"127.0.30.{n}", nodes[(n + 7) % len(nodes)])
        finally:
            seed.kill()
            seed.wait()
        if not filecmp.cmp(file, os.path.join(out, os.path.basename(file)), shallow=False):
            sys.exit(f"{seed_kind} -> {leech_kind}: what came is not what was sent")
        shutil.rmtree(out)
        os.remove(file)
        return times


def main():
    parser = options(__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--mib", type=int, default=64)
    args = parser.parse_args()
    pairs = [(seed, leech) for seed in ("libtorrent", "ours") for leech in ("libtorrent", "ours")]
    with tempfile.TemporaryDirectory(dir=args.store) as folder:
        bench = Bench(args, folder)
        results = interleave(bench, pairs, args.rounds)
        bench.overlay.process.kill()
    print(f"overlay of {args.nodes}, {args.mib} MiB, {args.rounds} rounds, store {args.store}\n")
    print("| seed -> leech | metadata, ms | whole, ms |")
    print("|---|---|---|")
    for pair in pairs:
        cells = []
        for column in zip(*results[pair]):
            values = sorted(1000 * value for value in column)
            quarter = len(values) // 4
            cells.append(f"{statistics.median(values):.0f} ({values[quarter]:.0f}-{values[-1 - quarter]:.0f})")
        print(f"| {pair[0]} -> {pair[1]} | {' | '.join(cells)} |")


main()
