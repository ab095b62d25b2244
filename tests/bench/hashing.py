"""Rows about hashing files that lie in the page cache."""
import os
import shutil

from figures import Row, interleave
from programs import Program

ONE_CORE = ["taskset", "--cpu-list", min(os.sched_getaffinity(0))]


def check_ours(place, prefix=()):
    """Our check of what lies there, from the start of the process to its end."""
    folder = os.path.dirname(place.file)
    shutil.rmtree(os.path.join(folder, ".trackerless"), ignore_errors=True)
    get = [place.binary("trackerless"), "get", place.torrent, "--no-dht", "--json", "--bind", place.address(2), "-o", folder]
    with Program(*prefix, *get) as program:
        program.event("done")
        used = program.finish()
    shutil.rmtree(os.path.join(folder, ".trackerless"), ignore_errors=True)
    return used


def create_ours(place, prefix=()):
    made = os.path.join(place.folder, "made.torrent")
    create = [place.binary("trackerless"), "create", place.file, "-o", made, "--piece-length", place.made[1] << 10]
    with Program(*prefix, *create) as program:
        return program.finish()


def timed_libtorrent(place, *arguments, prefix=()):
    command = [*prefix, place.args.python, "-W", "ignore", os.path.join(os.path.dirname(__file__), "libtorrent_peer.py")]
    with Program(*command, *arguments) as program:
        program.line()
        before = program.cpu()
        program.say("go")
        seconds = float(program.line())
        return {"seconds": seconds, "cpu": program.cpu() - before}


def check_libtorrent(place, prefix=()):
    address = place.address(2).split(":")
    return timed_libtorrent(place, "check", place.torrent, os.path.dirname(place.file), *address, prefix=prefix)


def create_libtorrent(place, prefix=()):
    made = os.path.join(place.folder, "made.torrent")
    return timed_libtorrent(place, "create", made, place.file, place.made[1] << 10, prefix=prefix)


def bare_hash(place, threads, prefix=()):
    with Program(*prefix, place.binary("bare_hash"), place.torrent, place.file, threads) as program:
        return program.finish()


def rated(mib, used):
    return {**used, "gib_s": mib / 1024 / used["seconds"]}


def check_and_create(place):
    """All cores against libtorrent's one."""
    mib = place.mib(4096)
    place.content(mib)
    row = Row("Checking and creating", f"{mib} MiB in the page cache ({place.args.store}), pieces of 1 MiB. Ours from the start of "
              "the process to its end, with as many hash threads as there are cores (at most 4); libtorrent from adding the torrent, "
              "with its default of one. `bare_hash` reads and hashes with the crate sha1, on one thread and on two.")
    runs = {
        "ours, check": lambda: check_ours(place),
        "libtorrent, check": lambda: check_libtorrent(place),
        "ours, create": lambda: create_ours(place),
        "libtorrent, create": lambda: create_libtorrent(place),
        "bare_hash, 1 thread": lambda: bare_hash(place, 1),
        "bare_hash, 2 threads": lambda: bare_hash(place, 2),
    }
    results = interleave(list(runs), place.args.rounds, lambda name: rated(mib, runs[name]()))
    row.table(results, [("s", "seconds", "{:.2f}", 1), ("GiB/s", "gib_s", "{:.2f}", 1), ("CPU s", "cpu", "{:.2f}", 1)])
    row.ratio("time of a full check, ours / libtorrent", results, "seconds", "ours, check", "libtorrent, check", most=0.55)
    row.ratio("time of creation, ours / libtorrent", results, "seconds", "ours, create", "libtorrent, create", most=0.55)
    row.ratio("SHA-1 on two threads / on one", results, "gib_s", "bare_hash, 2 threads", "bare_hash, 1 thread")
    return row


def one_core(place):
    """Two pieces at a time on one core."""
    mib = place.mib(2048)
    place.content(mib)
    row = Row("SHA-1 of independent pieces on one core", f"{mib} MiB in the page cache ({place.args.store}), pieces of 1 MiB, everything "
              "bound to one core by taskset. `bare_hash` reads and hashes one piece after the other with the crate sha1; ours reads "
              "the same and hashes two at a time.")
    runs = {
        "ours, create": lambda: create_ours(place, ONE_CORE),
        "ours, check": lambda: check_ours(place, ONE_CORE),
        "bare_hash": lambda: bare_hash(place, 1, ONE_CORE),
        "libtorrent, create": lambda: create_libtorrent(place, ONE_CORE),
        "libtorrent, check": lambda: check_libtorrent(place, ONE_CORE),
    }
    results = interleave(list(runs), place.args.rounds, lambda name: rated(mib, runs[name]()))
    row.table(results, [("s", "seconds", "{:.2f}", 1), ("GiB/s", "gib_s", "{:.2f}", 1), ("CPU s", "cpu", "{:.2f}", 1)])
    row.ratio("speed of creation, ours / bare", results, "gib_s", "ours, create", "bare_hash", least=1.3)
    row.ratio("speed of a check, ours / bare", results, "gib_s", "ours, check", "bare_hash")
    return row
