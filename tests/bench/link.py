"""The row of a long fat link: two namespaces that a relay joins over TUN devices."""
import contextlib
import fcntl
import os
import struct
import subprocess
import threading
import time

from figures import Row, interleave
from programs import HERE, Program

# linux/if_tun.h: packets with a header that says how they are to be cut, up to 64 KiB at a time, as network cards take them.
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 1, 2
MTU = 1500
ROUND_TRIP_MS = 100
# Rates in Mbit/s, until the bare sender fills one.
RATES = [1000, 800, 600, 400, 250]
FILLS = 0.95
# What the link holds, twice: buffers of sockets have to be larger, the queue before it is as large as it once.
BUFFER_BYTES = 64 << 20
# From this share of what came to that one the rate counts as steady.
STEADY = (0.30, 0.95)
HOSTS = ("10.99.0.1", "10.99.0.2")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def open_tun(name):
    """A new TUN device, open."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return tun


class Link:
    """Two hosts and what is between them, until the `with` block ends."""

    def __init__(self, place, mbit):
        self.place, self.mbit, self.stack = place, mbit, contextlib.ExitStack()
        self.names = [f"bench-{os.getpid()}-{side}" for side in "ab"]

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            tuns = []
            for side, name in enumerate(self.names):
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
                device = f"bench{os.getpid()}{side}"
                tuns.append(open_tun(device))
                stack.callback(os.close, tuns[-1])
                ip("link", "set", device, "netns", name)
                ip("-n", name, "addr", "add", HOSTS[side], "peer", HOSTS[1 - side], "dev", device)
                ip("-n", name, "link", "set", device, "mtu", str(MTU), "txqueuelen", "10000", "up")
                ip("-n", name, "link", "set", "lo", "up")
                for which in ("tcp_rmem", "tcp_wmem"):
                    setting = f"net.ipv4.{which}=4096 131072 {BUFFER_BYTES}"
                    subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", setting], check=True)
            queue_kib = self.mbit * ROUND_TRIP_MS // 8 * 1000 // 1024
            relay = [self.place.binary("relay_tun"), ROUND_TRIP_MS / 2, self.mbit, queue_kib]
            self.relay = stack.enter_context(Program(*relay, stdin=tuns[0], stdout=tuns[1]))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def congestion_control(self):
        command = ["ip", "netns", "exec", self.names[0], "sysctl", "-n", "net.ipv4.tcp_congestion_control"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @contextlib.contextmanager
    def watched(self, pid, into):
        """Looks at what the host of a process receives, until the block ends: `into["steady"]` becomes the share of all
        that came within a second while the rate was steady."""
        ended, samples = threading.Event(), []

        def watch():
            with contextlib.suppress(OSError, IndexError):
                while not ended.wait(0.01):
                    with open(f"/proc/{pid}/net/dev") as devices:
                        line = next(line for line in devices if line.strip().startswith("bench"))
                    samples.append((time.monotonic(), int(line.split(":")[1].split()[0])))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            into["steady"] = steady(samples)


def steady(samples):
    """See `Link.watched`."""
    if len(samples) < 2 or samples[-1][1] == samples[0][1]:
        return float("nan")
    first, whole = samples[0][1], samples[-1][1] - samples[0][1]
    shares = [(at, (count - first) / whole) for at, count in samples]
    begin = next(at for at in shares if at[1] >= STEADY[0])
    end = next(at for at in shares if at[1] >= STEADY[1])
    return (end[1] - begin[1]) / (end[0] - begin[0]) if end[0] > begin[0] else float("nan")


def bare(link, mib):
    """A bare sender and receiver: bytes a second as a whole and while steady."""
    command = [link.place.args.python, f"{HERE}/bare_tcp.py"]
    address = link.place.address(0).split(":")[1]
    with Program(*command, "send", HOSTS[0], address, mib, host=link.names[0]) as sender:
        sender.line()
        with Program(*command, "receive", HOSTS[0], address, host=link.names[1]) as receiver:
            receiver.line()
            used = {}
            with link.watched(receiver.pid, used):
                receiver.say("go")
                seconds = float(receiver.line())
    return result(mib, seconds, used["steady"])


def result(mib, seconds, share):
    size = mib << 20
    return {"seconds": seconds, "whole": 8e-6 * size / seconds, "steady": 8e-6 * size * share}


def client(link, kind, mib):
    place = link.place
    seed, leech = (f"{host}:{place.address(0).split(':')[1]}" for host in HOSTS)
    used = {}
    with place.seed(kind, seed, host=link.names[0]):
        fetched = place.fetch(kind, leech, seed, host=link.names[1],
                              meanwhile=lambda program: link.watched(program.pid, used))
    return result(mib, fetched["seconds"], used["steady"])


def long_fat_link(place):
    """One peer a long way off."""
    mib, mbit = place.mib(1024), None
    place.content(mib)
    for mbit in RATES:
        with Link(place, mbit) as link:
            control, trial = link.congestion_control(), bare(link, mib)
        if trial["steady"] >= FILLS * mbit or place.is_trial():
            break
    fills = f"the bare sender fills {100 * trial['steady'] / mbit:.1f} % of it while steady"
    row = Row(f"One peer, {ROUND_TRIP_MS} ms away, {mbit} Mbit/s", f"{mib} MiB between two network namespaces that `relay_tun` joins "
              f"over TUN devices: {ROUND_TRIP_MS // 2} ms and {mbit} Mbit/s each way, a queue of what the link holds, MTU {MTU} with "
              f"segmentation left to the device, as network cards do it, "
              f"tcp_rmem and tcp_wmem up to {BUFFER_BYTES >> 20} MiB, congestion control {control}. Of "
              f"{', '.join(map(str, RATES))} Mbit/s it is the first that a bare TCP sender fills to {FILLS}: {fills}. `whole` is the "
              "payload over the time from start to complete; `steady` what came a second between the moments at which 30 and 95 "
              "% had come.")

    def run(kind):
        return bare(link, mib) if kind == "bare TCP" else client(link, kind, mib)

    with Link(place, mbit) as link:
        results = interleave(["ours", "libtorrent", "bare TCP"], place.args.rounds, run)
    row.table(results, [("steady Mbit/s", "steady", "{:.0f}", 1), ("whole Mbit/s", "whole", "{:.0f}", 1), ("s", "seconds", "{:.2f}", 1)])
    row.ratio("steady goodput, ours / bare", results, "steady", "ours", "bare TCP", least=0.9)
    row.ratio("whole goodput, ours / bare", results, "whole", "ours", "bare TCP", least=0.9)
    row.ratio("whole goodput, ours / libtorrent", results, "whole", "ours", "libtorrent")
    return row
