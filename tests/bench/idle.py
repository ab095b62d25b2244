"""The row of many torrents that nobody asks for."""
import hashlib
import os
import time

from figures import Row, interleave

TORRENTS = 10_000
PIECE_BYTES, PIECES = 16 << 10, 2
# Long enough for a figure of a thousandth, and for what is done once a second.
IDLE_SECONDS = 10


def write_torrents(folder, count):
    """Files of two pieces of random bytes in `data`, and a torrent of each in `torrents`."""
    for name in ("data", "torrents"):
        os.mkdir(os.path.join(folder, name))
    for number in range(count):
        name, content = f"tiny{number:06}.bin", os.urandom(PIECE_BYTES * PIECES)
        pieces = b"".join(hashlib.sha1(content[at:at + PIECE_BYTES]).digest() for at in range(0, len(content), PIECE_BYTES))
        info = b"d6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:%se" % (
            len(content), len(name), name.encode(), PIECE_BYTES, len(pieces), pieces)
        for path, what in ((f"data/{name}", content), (f"torrents/{name}.torrent", b"d4:info" + info + b"e")):
            with open(os.path.join(folder, path), "wb") as out:
                out.write(what)


def rss_mib(program):
    with open(f"/proc/{program.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def idle_torrents(place):
    """Thousands of torrents that nobody asks for."""
    count = 50 if place.is_trial() else TORRENTS
    idle_seconds = 1 if place.is_trial() else IDLE_SECONDS
    folder = os.path.join(place.folder, "idle")
    os.mkdir(folder)
    write_torrents(folder, count)
    torrents = sorted(os.listdir(os.path.join(folder, "torrents")))

    def run(kind):
        # What an earlier run of ours knows would spare it the check.
        place.remove(os.path.join(folder, "data", ".trackerless"))
        ip, port = place.address(2).split(":")
        if kind == "libtorrent":
            program = place.libtorrent("idle", "torrents", "data", ip, port, cwd=folder)
            program.line()
            begin = program.cpu()
            program.say("go")
            ready = float(program.line())
        else:
            named = [f"torrents/{name}" for name in torrents]
            program = place.ours("get", "--seed", "--no-dht", "--json", "--bind", f"{ip}:{port}", "-o", "data", *named, cwd=folder)
            for _ in torrents:
                program.event("done")
            begin, ready = 0, program.seconds()
        with program:
            used = program.cpu() - begin
            # What is done once, a moment later.
            time.sleep(2)
            before = program.cpu()
            time.sleep(idle_seconds)
            idle = (program.cpu() - before) / idle_seconds
            return {"ready": ready, "cpu": used, "idle": 100 * idle, "mib": rss_mib(program)}

    rounds = min(3, place.args.rounds)
    results = interleave(["ours", "libtorrent"], rounds, run)
    row = Row(f"{count:,} idle torrents", f"{count:,} torrents of one file of 32 KiB each, the DHT off, {rounds} rounds. Ready: from the "
              "start of our process, or from adding the first torrent to libtorrent, until all files are checked. Then nobody asks "
              f"for anything: processor time of {idle_seconds} s, and resident memory, libtorrent's with its Python.")
    row.table(results, [("ready, s", "ready", "{:.2f}", 1), ("CPU until then, s", "cpu", "{:.2f}", 1),
                        ("idle, % of a core", "idle", "{:.3f}", 1), ("RSS, MiB", "mib", "{:.0f}", 1)])
    row.ratio("time until ready, ours / libtorrent", results, "ready", "ours", "libtorrent", most=0.6)
    row.claim("idle, of a core", [one["idle"] for one in results["ours"]], most=0.1, unit=" %")
    return row
