"""What rounds gave: medians, ratios pair by pair, and whether a target was reached."""
import math
import statistics
import sys
from dataclasses import dataclass, field


def interval(values):
    """The lowest and the highest value of the narrowest interval between values of equal rank from both ends that holds the
    true median in at least 95 of 100 cases (the sign test's, free of any assumption on the distribution), and how many.
    Fewer than six values have none: all that they span."""
    values = sorted(values)
    count, low, share = len(values), 0, 1 - 2 ** (1 - len(values))
    for rank in range(1, count // 2):
        inside = 1 - 2 * sum(math.comb(count, n) for n in range(rank + 1)) / 2**count
        if inside < 0.95:
            break
        low, share = rank, inside
    return values[low], values[-1 - low], share


@dataclass
class Claim:
    """A figure of each round, or one alone, and what it is to be."""

    what: str
    values: list
    most: float | None = None
    least: float | None = None
    unit: str = ""

    def told(self):
        """A line of the table of claims."""
        median = statistics.median(self.values)
        low, high, _ = interval(self.values)
        figure = f"**{median:.3g}**{self.unit}"
        if len(self.values) > 1:
            figure += f" ({low:.3g} to {high:.3g})"
        if self.most is None and self.least is None:
            return [self.what, figure, "", ""]
        target = f"<= {self.most:g}" if self.least is None else f">= {self.least:g}"
        reached = median <= self.most if self.least is None else median >= self.least
        return [self.what, figure, target + self.unit, "yes" if reached else "**no**"]


@dataclass
class Row:
    """What one row found out."""

    title: str
    how: str
    head: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    claims: list = field(default_factory=list)

    def table(self, results, columns):
        """A line for each contestant, with the medians of the columns: (title, key, format, factor)."""
        self.head = ["", *(title for title, *_ in columns)]
        for name, rounds in results.items():
            cells = [
                form.format(statistics.median(one[key] for one in rounds) * factor) if key in rounds[0] else ""
                for _, key, form, factor in columns
            ]
            self.lines.append([name, *cells])

    def claim(self, what, values, **target):
        """The claim of a figure of each round."""
        self.claims.append(Claim(what, values, **target))

    def ratio(self, what, results, key, above, below, **target):
        """The claim of `key` of one contestant over that of another, round by round."""
        pairs = zip(results[above], results[below])
        self.claims.append(Claim(what, [one[key] / max(other[key], 1e-9) for one, other in pairs], **target))


def interleave(contestants, rounds, run, between=None):
    """What `run(contestant)` gave, one entry a round. In each round all run one after the other, beginning with another
    each time, so that a slow minute hits all alike. A round before the first, which warms up, does not count."""
    results = {name: [] for name in contestants}
    for number in range(0 if rounds > 1 else 1, rounds + 1):
        shift = number % len(contestants)
        if between:
            between()
        for name in contestants[shift:] + contestants[:shift]:
            result = run(name)
            if number > 0:
                results[name].append(result)
        print(f"  round {number} of {rounds}", file=sys.stderr)
    return results
