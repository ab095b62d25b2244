"""The row that begins with a bare info-hash."""
import contextlib
import json
import os
import time

from figures import Row, interleave
from programs import HERE, Program, write_random

PORT = 20881
PIECE_BYTES = 256 << 10


class Overlay:
    """libtorrent nodes in one process that all know some of the others."""

    def __init__(self, place, count):
        self.nodes = [f"{place.ip(10 + n)}:{PORT}" for n in range(count)]
        self.process = Program(place.args.python, "-u", "-W", "ignore", f"{HERE}/../peers/libtorrent_node.py")

    def __enter__(self):
        count = len(self.nodes)
        self.ask(op="start", listen=self.nodes, settings={})
        for session in range(count):
            for step in (1, 2, 5, 11):
                self.ask(op="add_node", session=session, node=self.nodes[(session + step) % count])
        while min(self.ask(op="dht")["nodes"]) < min(8, count - 1):
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.__exit__()

    def ask(self, **request):
        self.process.say(json.dumps(request))
        answer = json.loads(self.process.line())
        assert answer["ok"], answer
        return answer

    def wait_findable(self, info_hash):
        for session in (3, 17):
            while not self.ask(op="get_peers", session=session % len(self.nodes), info_hash_hex=info_hash, seconds=0.3)["peers"]:
                pass


class Runs:
    def __init__(self, place, overlay, mib):
        self.place, self.overlay, self.mib, self.count = place, overlay, mib, 0

    def seed(self, kind, torrent, address, entry):
        place = self.place
        if kind == "libtorrent":
            program = place.libtorrent("dht-seed", torrent, place.folder, *address.split(":"), entry)
            program.line()
        else:
            program = place.ours("seed", self.file, "--json", "--bind", address, "--bootstrap", entry, "--piece-length", PIECE_BYTES)
            program.event("serving")
        return program

    def leech(self, kind, info_hash, out, address, entry):
        """Milliseconds from just before the process's start to its metadata, and to the whole file."""
        place = self.place
        if kind == "libtorrent":
            program = place.libtorrent("dht-get", info_hash, out, *address.split(":"), entry)
        else:
            program = place.ours("get", info_hash, "--json", "--seed", "--bind", address, "--bootstrap", entry, "-o", out)
        with program:
            program.event("metadata")
            metadata = program.seconds()
            program.event("done")
            return {"metadata": 1e3 * metadata, "whole": 1e3 * program.seconds()}

    def run(self, pair):
        """One run with an info-hash of its own, and a seed that lookups find before the clock starts."""
        place, seed_kind, leech_kind = self.place, *pair.split(" -> ")
        self.count += 1
        nodes, n = self.overlay.nodes, self.count
        self.file = os.path.join(place.folder, f"data{n}.bin")
        torrent = os.path.join(place.folder, f"data{n}.torrent")
        write_random(self.file, self.mib)
        create = ["create", self.file, "-o", torrent, "--json", "--piece-length", PIECE_BYTES]
        with place.ours(*create) as created:
            info_hash = json.loads(created.line())["info_hash"]
        with contextlib.ExitStack() as stack:
            stack.callback(os.remove, self.file)
            stack.enter_context(self.seed(seed_kind, torrent, place.address(2), nodes[n % len(nodes)]))
            out = stack.enter_context(place.out())
            self.overlay.wait_findable(info_hash)
            times = self.leech(leech_kind, info_hash, out, place.address(3), nodes[(n + 7) % len(nodes)])
            os.rename(os.path.join(out, f"data{n}.bin"), os.path.join(out, "data.bin"))
            place.file = self.file
            place.compare(out)
        return times


def from_an_info_hash(place):
    """From a bare info-hash to the whole file."""
    mib, count = place.mib(64), 4 if place.is_trial() else 50
    row = Row("From a bare info-hash", f"{mib} MiB in an overlay of {count} libtorrent nodes on loopback, from the start of the process, "
              "Python's included. Each run has an info-hash of its own, and a seed that lookups find before the clock starts.")
    pairs = [f"{seed} -> {leech}" for seed in ("libtorrent", "ours") for leech in ("libtorrent", "ours")]
    place.made = None
    with Overlay(place, count) as overlay:
        results = interleave(pairs, place.args.rounds, Runs(place, overlay, mib).run)
    row.table(results, [("metadata, ms", "metadata", "{:.0f}", 1), ("whole, ms", "whole", "{:.0f}", 1)])
    both = ("ours -> ours", "libtorrent -> libtorrent")
    row.ratio("time to the metadata, ours -> ours / libtorrent -> libtorrent", results, "metadata", *both)
    row.ratio("time to the whole file, ours -> ours / libtorrent -> libtorrent", results, "whole", *both)
    row.ratio("time to the whole file from libtorrent, ours / libtorrent", results, "whole", "libtorrent -> ours", both[1])
    return row
