"""The programs that are measured, and what they used."""
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Where what a program says on standard error stays until somebody wants it.
LOG_SHOWN = 2000
# Below this size of the largest rows a run is a trial.
TRIAL_MIB = 256


class Program:
    """A process that runs, with its output as a pipe. It ends with the `with` block at the latest."""

    def __init__(self, *command, host=None, **options):
        command = [str(part) for part in command]
        if host:
            command = ["ip", "netns", "exec", host, *command]
        self.command, self.log = command, tempfile.TemporaryFile()
        options.setdefault("stdin", subprocess.PIPE)
        options.setdefault("stdout", subprocess.PIPE)
        self.begin = time.monotonic()
        self.process = subprocess.Popen(command, stderr=self.log, text=True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.log.close()

    @property
    def pid(self):
        return self.process.pid

    def fail(self, what):
        self.log.seek(0)
        said = self.log.read()[-LOG_SHOWN:].decode(errors="replace")
        raise RuntimeError(f"{' '.join(self.command[:4])} ...: {what}\n{said}")

    def cpu(self):
        """Processor seconds of all its threads, also of those that have ended, to the nanosecond: clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def peak_mib(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def line(self):
        return self.process.stdout.readline() or self.fail("ended early")

    def event(self, name):
        """Waits for an event of ours."""
        while True:
            event = json.loads(self.line())
            if event["event"] == name:
                return event
            if event["event"] == "failed":
                self.fail(f"failed: {event}")

    def seconds(self):
        """Seconds since just before its start."""
        return time.monotonic() - self.begin

    def finish(self):
        """Waits for its end: seconds from its start, and its processor seconds."""
        # What it still says would stand in its way.
        self.process.stdout.read()
        _, status, used = os.wait4(self.pid, 0)
        seconds = self.seconds()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            self.fail(f"exit code {self.process.returncode}")
        return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime}


class Place:
    """Where the runs take place: folders, content and addresses."""

    def __init__(self, args, folder):
        self.args, self.folder, self.port, self.made = args, folder, 20000, None
        # Two benchmarks at a time do not meet.
        self.net = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"

    def binary(self, name):
        return os.path.join(self.args.bin, name)

    def mib(self, full):
        """A size, for runs that are smaller than the full ones."""
        return max(4, full * self.args.mib // 2048)

    def is_trial(self):
        """Whether the sizes are such that no figure says anything: that it runs is all that is asked."""
        return self.args.mib < TRIAL_MIB

    def ip(self, host):
        return f"{self.net}.{host}"

    def address(self, host):
        """An address that was not yet used."""
        self.port += 1
        return f"{self.ip(host)}:{self.port}"

    def content(self, mib, piece_kib=1024):
        """A file of random bytes, and a torrent of it. Only the last of them is kept."""
        if self.made != (mib, piece_kib):
            self.made = None
            shutil.rmtree(os.path.join(self.folder, "content"), ignore_errors=True)
            self.made = (mib, piece_kib)
            self.file = os.path.join(self.folder, "content", "data.bin")
            self.torrent = os.path.join(self.folder, "content", "data.torrent")
            os.mkdir(os.path.dirname(self.file))
            write_random(self.file, mib)
            create = ["create", self.file, "-o", self.torrent, "--piece-length", piece_kib << 10]
            with Program(self.binary("trackerless"), *create) as program:
                program.finish()
        return self.file, self.torrent

    @contextlib.contextmanager
    def out(self, parent=None):
        """A folder for what comes; the content is compared before it is removed."""
        with tempfile.TemporaryDirectory(dir=parent or self.folder, prefix="out") as folder:
            yield folder

    def remove(self, folder):
        """Removes a folder, if it is there."""
        shutil.rmtree(folder, ignore_errors=True)

    def compare(self, folder):
        if subprocess.run(["cmp", self.file, os.path.join(folder, "data.bin")]).returncode != 0:
            raise RuntimeError("what came is not what was sent")

    def libtorrent(self, *arguments, **options):
        return Program(self.args.python, "-W", "ignore", f"{HERE}/libtorrent_peer.py", *arguments, **options)

    def ours(self, *arguments, **options):
        return Program(self.binary("trackerless"), *arguments, **options)

    def seed(self, kind, address, **options):
        """A seed of the content that listens."""
        if kind == "libtorrent":
            program = self.libtorrent("seed", self.torrent, os.path.dirname(self.file), *address.split(":"), **options)
            program.line()
        elif kind == "ours":
            piece_len = self.made[1] << 10
            program = self.ours("seed", self.file, "--no-dht", "--json", "--bind", address, "--piece-length", piece_len,
                                **options)
            program.event("serving")
        else:
            program = Program(self.binary("bare_seed"), self.torrent, self.file, address, **options)
            program.line()
        return program

    def start_ours(self, folder, address, peers, *more, **options):
        """Our leech."""
        named = [part for peer in peers for part in ("--peer", peer)]
        return self.ours("get", self.torrent, "--no-dht", "--json", "--bind", address, "-o", folder, *named, *more, **options)

    def start_libtorrent(self, folder, address, peers, **options):
        """libtorrent's leech, which waits for a line."""
        program = self.libtorrent("get", self.torrent, folder, *address.split(":"), *peers, **options)
        program.line()
        return program

    def fetch(self, kind, address, seed, parent=None, meanwhile=None, **options):
        """Fetches the content from a seed: seconds from its start to complete, and processor seconds of the leech; of ours
        and the bare one these are of the whole process, of libtorrent's from adding the torrent to its being complete.
        `meanwhile(program)` is a context that is open during the transfer."""
        during = meanwhile or (lambda program: contextlib.nullcontext())
        with self.out(parent) as folder:
            if kind == "libtorrent":
                with self.start_libtorrent(folder, address, [seed], **options) as program, during(program):
                    before = program.cpu()
                    program.say("go")
                    used = {"seconds": float(program.line())}
                    used["cpu"] = program.cpu() - before
            elif kind == "ours":
                with self.start_ours(folder, address, [seed], **options) as program, during(program):
                    program.event("done")
                    seconds = program.seconds()
                    used = {"cpu": program.finish()["cpu"], "seconds": seconds}
            else:
                file = os.path.join(folder, "data.bin")
                with Program(self.binary("bare_leech"), self.torrent, file, seed, **options) as program, during(program):
                    used = program.finish()
            self.compare(folder)
        gib = self.made[0] / 1024
        return {**used, "mib_s": self.made[0] / used["seconds"], "cpu_gib": used["cpu"] / gib}


def write_random(path, mib):
    with open(path, "wb") as out:
        for _ in range(mib):
            out.write(os.urandom(1 << 20))
