"""Rows in which content goes over loopback."""
import contextlib
import os
import subprocess
import time

from figures import Row, interleave

SPEED = [("MiB/s", "mib_s", "{:.0f}", 1), ("leech CPU s/GiB", "cpu_gib", "{:.3f}", 1)]


def download(place):
    """The leech's processor time."""
    mib = place.mib(2048)
    place.content(mib)
    row = Row("Downloading, one to one", f"{mib} MiB over loopback TCP into {place.args.store}, pieces of 1 MiB. In each round "
              "one libtorrent seed serves all three. `bare` is `bare_leech`: one thread, requests in order, large reads, the "
              "crate sha1, one write a piece.")
    with contextlib.ExitStack() as seeds:
        address = None

        def new_seed():
            nonlocal address
            seeds.close()
            address = place.address(1)
            seeds.enter_context(place.seed("libtorrent", address))

        kinds = ["ours", "libtorrent", "bare"]
        results = interleave(kinds, place.args.rounds, lambda kind: place.fetch(kind, place.address(2), address), new_seed)
    row.table(results, SPEED)
    row.ratio("CPU of the leech, ours / libtorrent", results, "cpu", "ours", "libtorrent", most=0.65)
    row.ratio("CPU of the leech, ours / bare", results, "cpu", "ours", "bare", most=1.15)
    return row


def seeding(place):
    """The seed's processor time."""
    mib = place.mib(2048)
    place.content(mib)
    row = Row("Seeding, one to one", f"{mib} MiB over loopback TCP from {place.args.store} to a libtorrent leech, pieces of 1 "
              "MiB. CPU of the seed from the leech's start to its end. `bare` is `bare_seed`: one thread, a header and a "
              "sendfile a block.")

    def run(kind):
        address = place.address(1)
        with place.seed(kind, address) as seed:
            before = seed.cpu()
            used = place.fetch("libtorrent", place.address(2), address)
            used["seed_cpu"] = seed.cpu() - before
        used["seed_cpu_gib"] = used["seed_cpu"] / (mib / 1024)
        return used

    results = interleave(["ours", "libtorrent", "bare"], place.args.rounds, run)
    row.table(results, [("MiB/s", "mib_s", "{:.0f}", 1), ("seed CPU s/GiB", "seed_cpu_gib", "{:.3f}", 1)])
    row.ratio("CPU of the seed, ours / libtorrent", results, "seed_cpu", "ours", "libtorrent", most=0.45)
    row.ratio("CPU of the seed, ours / bare", results, "seed_cpu", "ours", "bare", most=1.2)
    return row


def speed(place):
    """How fast one kind is among its like."""
    mib = place.mib(2048)
    place.content(mib)
    row = Row("Speed, one to one", f"{mib} MiB over loopback TCP, both in {place.args.store}, pieces of 1 MiB, seed and leech of "
              "one kind. Ours from the start of the process, libtorrent from adding the torrent.")

    def run(kind):
        address = place.address(1)
        with place.seed(kind, address) as seed:
            before = seed.cpu()
            used = place.fetch(kind, place.address(2), address)
            used["seed_cpu_gib"] = (seed.cpu() - before) / (mib / 1024)
        return used

    results = interleave(["ours", "libtorrent"], place.args.rounds, run)
    row.table(results, [*SPEED, ("seed CPU s/GiB", "seed_cpu_gib", "{:.3f}", 1)])
    row.ratio("MiB/s, ours / libtorrent", results, "mib_s", "ours", "libtorrent", least=1.5)
    return row


def swarm(place):
    """One seed and eight leeches on this machine."""
    mib, leeches = place.mib(256), 8
    place.content(mib, 256)
    row = Row("One seed to eight leeches", f"{mib} MiB over loopback TCP in {place.args.store}, pieces of 256 KiB; every leech is "
              "told of the seed and of all others and stays until all have it. CPU of all nine processes together.")

    def run(kind):
        seed_address = place.address(1)
        addresses = [place.address(2 + n) for n in range(leeches)]
        with contextlib.ExitStack() as stack:
            seed = stack.enter_context(place.seed(kind, seed_address))
            folders = [stack.enter_context(place.out()) for _ in addresses]
            peers = [[seed_address, *(other for other in addresses if other != own)] for own in addresses]
            before, begin = seed.cpu(), time.monotonic()
            if kind == "ours":
                programs = [stack.enter_context(place.start_ours(folder, own, others, "--seed"))
                            for folder, own, others in zip(folders, addresses, peers)]
                for program in programs:
                    program.event("done")
            else:
                programs = [stack.enter_context(place.start_libtorrent(folder, own, others))
                            for folder, own, others in zip(folders, addresses, peers)]
                before, begin = before + sum(program.cpu() for program in programs), time.monotonic()
                for program in programs:
                    program.say("go")
                for program in programs:
                    program.line()
            seconds = time.monotonic() - begin
            cpu = seed.cpu() + sum(program.cpu() for program in programs) - before
            for folder in folders:
                place.compare(folder)
        return {"seconds": seconds, "cpu": cpu, "cpu_gib": cpu / (mib * leeches / 1024)}

    results = interleave(["ours", "libtorrent"], place.args.rounds, run)
    row.table(results, [("s until all have it", "seconds", "{:.2f}", 1), ("CPU s of all", "cpu", "{:.2f}", 1),
                        ("CPU s per GiB received", "cpu_gib", "{:.3f}", 1)])
    row.ratio("CPU of all, ours / libtorrent", results, "cpu", "ours", "libtorrent", most=0.65)
    row.ratio("time until all have it, ours / libtorrent", results, "seconds", "ours", "libtorrent")
    return row


def disk(place):
    """Into a folder on a disk."""
    mib = place.mib(2048)
    place.content(mib)
    os.makedirs(place.args.disk, exist_ok=True)
    find = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", place.args.disk]
    kind = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
    row = Row("Downloading to a disk", f"{mib} MiB over loopback TCP from a libtorrent seed in {place.args.store} to {kind}, pieces of "
              "1 MiB. Ours is done when all is on stable storage and in its journal; libtorrent when it has written, and does "
              "not sync. What earlier runs wrote is synced before each.")

    def run(contestant):
        subprocess.run(["sync"], check=True)
        address = place.address(1)
        with place.seed("libtorrent", address):
            return place.fetch(contestant, place.address(2), address, parent=place.args.disk)

    results = interleave(["ours", "libtorrent"], place.args.rounds, run)
    row.table(results, [("s to complete", "seconds", "{:.2f}", 1), *SPEED])
    row.ratio("CPU of the leech, ours / libtorrent", results, "cpu", "ours", "libtorrent", most=0.8)
    row.ratio("time, ours / libtorrent", results, "seconds", "ours", "libtorrent", most=1.1)
    return row
