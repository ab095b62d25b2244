"""Rows about what else a transfer costs: memory and system calls."""
import os
import re
import signal
import tempfile

from figures import Claim, Row
from programs import HERE, Program

BLOCK_KIB = 16
SLOW_PEERS = 60
FUTEX_MOST = 0.25
# More than what is held while nothing is whole: threads, code, tables, the heap's loose ends.
BEYOND_BUDGET_MIB = 48
# A figure of memory is the worst of so many runs.
MEMORY_RUNS = 3


def budget_mib():
    """What the client holds of unfinished pieces at most."""
    with open(os.path.join(HERE, "..", "..", "client", "src", "config.rs")) as config:
        blocks = re.search(r"credits_max: ([0-9_]+),", config.read()).group(1)
    return int(blocks.replace("_", "")) * BLOCK_KIB / 1024


def peak(place, peers):
    """The leech's greatest resident set when all is there."""
    with place.out() as folder, place.start_ours(folder, place.address(2), peers, "--seed") as leech:
        leech.event("done")
        mib = leech.peak_mib()
        place.compare(folder)
    return mib


def memory(place):
    """Peaks of resident memory."""
    runs = min(MEMORY_RUNS, place.args.rounds)
    mib = place.mib(2048)
    place.content(mib)
    fast = []
    for _ in range(runs):
        address = place.address(1)
        with place.seed("libtorrent", address):
            fast.append(peak(place, [address]))
    slow_mib, piece_kib = max(32, place.mib(1024)), 16 << 10
    place.content(slow_mib, piece_kib)
    # Such that all of it takes some fifteen seconds.
    rate = slow_mib * 1024 // SLOW_PEERS // (1 if place.is_trial() else 15)
    slow = []
    for run in range(runs):
        ips = [f"{place.net}.{100 + n}" for n in range(SLOW_PEERS)]
        port = place.address(1).split(":")[1]
        command = [place.binary("slow_peers"), place.torrent, place.file, f"{ips[0]}:{port}", SLOW_PEERS, rate]
        with Program(*command) as peers:
            peers.line()
            slow.append(peak(place, [f"{ip}:{port}" for ip in ips]))
    budget = budget_mib()
    row = Row("Memory", f"Peak resident set (VmHWM) of our leech, the worst of {runs} runs: {mib} MiB in pieces of 1 MiB from one "
              f"libtorrent seed; and {slow_mib} MiB in pieces of 16 MiB from {SLOW_PEERS} peers of {rate} KiB/s that answer in a random "
              f"order. The budget of unfinished pieces is {budget:.0f} MiB.")
    row.claims = [
        Claim("one fast peer", [max(fast)], most=48, unit=" MiB"),
        Claim(f"{SLOW_PEERS} slow peers", [max(slow)], most=budget + BEYOND_BUDGET_MIB, unit=" MiB"),
    ]
    return row


class Strace:
    """Counts the system calls of a process that runs, until the block ends: `counts` by name."""

    def __init__(self, pid):
        self.out = tempfile.NamedTemporaryFile("r")
        command = ["strace", "-f", "-c", "-U", "name,calls", "-o", self.out.name, "-p", pid]
        self.program = Program(*command)

    def __enter__(self):
        while not os.path.getsize(self.program.log.fileno()):
            if self.program.process.poll() is not None:
                self.program.fail("ended early")
        return self

    def __exit__(self, *_):
        with self.program:
            self.program.process.send_signal(signal.SIGINT)
            self.program.process.wait()
        self.counts = counts(self.out.read())
        self.out.close()


def counts(table):
    """The table of `strace -c -U name,calls`."""
    rows = (line.split() for line in table.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] != "total"}


def calls_of_leech(place):
    address = place.address(1)
    with place.seed("libtorrent", address), place.out() as folder, tempfile.NamedTemporaryFile("r") as out:
        named = ["get", place.torrent, "--no-dht", "--json", "--bind", place.address(2), "--peer", address, "-o", folder]
        strace = ["strace", "-f", "-c", "-U", "name,calls", "-o", out.name]
        with Program(*strace, place.binary("trackerless"), *named) as leech:
            leech.event("done")
            leech.finish()
        place.compare(folder)
        return counts(out.read())


def calls_of_seed(place):
    address = place.address(1)
    with place.seed("ours", address) as seed, Strace(seed.pid) as strace:
        place.fetch("libtorrent", place.address(2), address)
    return strace.counts


def system_calls(place):
    """System calls for each block."""
    mib = max(16, place.mib(512))
    place.content(mib)
    blocks = mib * 1024 // BLOCK_KIB
    leech, seed = calls_of_leech(place), calls_of_seed(place)
    row = Row("System calls", f"Counted by `strace -f -c`, {mib} MiB in pieces of 1 MiB, the other side being libtorrent: of our "
              "leech from its start to its end, of our seed while it serves. Calls a block of 16 KiB; of each sort that is more than "
              "a hundredth.")
    row.head = ["", "all", "each"]
    for name, calls in (("download", leech), ("seed", seed)):
        sorts = sorted(calls.items(), key=lambda sort: -sort[1])
        each = ", ".join(f"{sort} {count / blocks:.3f}" for sort, count in sorts if count * 100 > blocks)
        row.lines.append([name, f"{sum(calls.values()) / blocks:.3f}", each])
    row.claims = [
        Claim("download, calls a block", [sum(leech.values()) / blocks], most=1.25),
        Claim("seed, calls a block", [sum(seed.values()) / blocks], most=2.25),
        # A batch of 64 KiB that is handed to a hash thread may take one, and no block of its own.
        Claim("download, futex a block", [leech.get("futex", 0) / blocks], most=FUTEX_MOST),
        Claim("seed, futex a block", [seed.get("futex", 0) / blocks], most=FUTEX_MOST),
    ]
    return row
