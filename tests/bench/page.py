"""What is kept of the rows, and the page that is made of it."""
import dataclasses
import json
import os

INTRO = """\
# Benchmarks

Written by `tests/bench/run`, which makes all of it again on your machine; [CONTRIBUTING.md](../CONTRIBUTING.md) says how. All
contestants run on one machine, one after the other in each round, in another order each round, and what came is compared with
what was sent after each run. A ratio is the median of the ratios of the rounds, in brackets the interval that holds the true
median in 95 of 100 cases (by the sign test: between values of equal rank from both ends; of fewer than six rounds all that there
is); a target is reached if the median reaches it. CPU is user and system time of all threads, by the process's own clock, to the
nanosecond: the kernel's work for a packet on loopback counts with whoever it interrupts, mostly the sender.
"""

def load(path):
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def keep(path, name, row, where):
    """Puts a row in the place of what was kept of it."""
    rows = load(path)
    claims = [claim.told() for claim in row.claims]
    rows[name] = {**dataclasses.asdict(row), "claims": claims, "where": where}
    with open(path, "w") as file:
        json.dump(rows, file, indent=1)


def table(head, lines):
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines]]


def section(row, where=None):
    """A row's part of the page; `where` is what has been said already."""
    own = {key: value for key, value in row["where"].items() if where is not None and where.get(key) != value}
    lines = [f"## {row['title']}", "", row["how"], ""]
    if own:
        lines += ["(" + "; ".join(f"{key}: {value}" for key, value in own.items()) + ")", ""]
    if row["lines"]:
        lines += [*table(row["head"], row["lines"]), ""]
    return lines + table(["ratio or figure", "median", "target", "reached"], row["claims"])


def write(path, rows, order):
    """The page of all that was kept."""
    there = [rows[name] for name in order if name in rows]
    where = max((row["where"] for row in there), key=lambda where: where["date"])
    lines = [INTRO, *table(list(where), [[str(value) for value in where.values()]]), ""]
    summary = [[row["title"], *claim] for row in there for claim in row["claims"] if claim[2]]
    lines += [*table(["row", "ratio or figure", "median", "target", "reached"], summary), ""]
    for row in there:
        lines += [*section(row, where), ""]
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        file.write("\n".join(lines))
