#!/usr/bin/env python3
"""Measures the client against libtorrent and against programs that do the least, and writes docs/benchmarks.md.

Started by `tests/bench/run`, which builds and installs what this needs. Everything runs on this machine, in processes that
this starts; every comparison is paired: in each round all contestants run one after the other.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import costs
import hashing
import idle
import link
import magnet
import page
import transfers
from programs import Place

ROWS = {
    "download": transfers.download,
    "seed": transfers.seeding,
    "speed": transfers.speed,
    "swarm": transfers.swarm,
    "disk": transfers.disk,
    "link": link.long_fat_link,
    "check": hashing.check_and_create,
    "sha1": hashing.one_core,
    "memory": costs.memory,
    "calls": costs.system_calls,
    "magnet": magnet.from_an_info_hash,
    "idle": idle.idle_torrents,
}
FULL_MIB, QUICK_MIB = 2048, 256
# Root may ask about a repository that is another user's.
GIT = ["git", "-c", "safe.directory=*"]


def arguments():
    rows = "\n".join(f"  {name:10} {row.__doc__}" for name, row in ROWS.items())
    parser = argparse.ArgumentParser(
        prog="tests/bench/run", description=__doc__, epilog=f"rows:\n{rows}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="ROW", action="append", choices=ROWS, help="only this row; repeatable")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of each comparison (default 10)")
    parser.add_argument("--quick", action="store_true", help="an eighth of the size and 3 rounds: says little")
    parser.add_argument("--mib", type=int, default=FULL_MIB, help="MiB of the rows that move 2048; others in proportion")
    parser.add_argument("--store", default="/dev/shm", help="a folder in memory with 5 GiB of room (default /dev/shm)")
    parser.add_argument("--disk", default="target/bench-store", help="a folder on a disk (default target/bench-store)")
    parser.add_argument("--out", help="the page (default docs/benchmarks.md; with other sizes target/bench/benchmarks.md)")
    parser.add_argument("--bin", default="target/release", help="where our programs are (default target/release)")
    parser.add_argument("--python", default=sys.executable, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.mib, args.rounds = QUICK_MIB, 3
    if args.rounds < 1 or args.mib < 4:
        parser.error("at least 1 round and 4 MiB")
    args.out = args.out or ("docs/benchmarks.md" if args.mib == FULL_MIB else "target/bench/benchmarks.md")
    # Programs run in other folders than this.
    args.bin, args.disk = os.path.abspath(args.bin), os.path.abspath(args.disk)
    return args


def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine(args):
    """What the figures depend on beside the programs."""
    with open("/proc/cpuinfo") as cpus:
        cpu = next((line.split(":")[1].strip() for line in cpus if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as memory:
        memory_kib = int(next(line for line in memory if line.startswith("MemTotal")).split()[1])
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as control:
        congestion_control = control.read().strip()
    changed = bool(said(*GIT, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"))
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": said(*GIT, "rev-parse", "--short", "HEAD") + (" with changes" if changed else ""),
        "kernel": platform.release(),
        "CPU": f"{cpu}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory_kib / (1 << 20):.0f} GiB",
        "versions": f"{said('rustc', '--version')}; libtorrent "
                    f"{said(args.python, '-W', 'ignore', '-c', 'import libtorrent; print(libtorrent.__version__)')}; "
                    f"Python {platform.python_version()}; {said('strace', '--version').splitlines()[0]}",
        "congestion control": congestion_control,
    }


def main():
    args = arguments()
    kept = f"{args.out}.json" if args.mib != FULL_MIB else "target/bench/results.json"
    os.makedirs(os.path.dirname(os.path.abspath(kept)), exist_ok=True)
    where = machine(args)
    names = args.only or list(ROWS)
    failed = []
    with tempfile.TemporaryDirectory(dir=args.store, prefix="bench") as folder:
        place = Place(args, folder)
        for name in names:
            print(f"{name}: {ROWS[name].__doc__}", file=sys.stderr)
            begin = time.monotonic()
            try:
                row = ROWS[name](place)
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                failed.append(name)
                print(f"{name} failed: {error}", file=sys.stderr)
                continue
            page.keep(kept, name, row, {**where, "rounds": args.rounds})
            print("\n".join(page.section(page.load(kept)[name])) + f"\n\n({time.monotonic() - begin:.0f} s)\n", flush=True)
    if rows := page.load(kept):
        page.write(args.out, rows, list(ROWS))
        print(f"{args.out} is written", file=sys.stderr)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
