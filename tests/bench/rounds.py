"""What the benchmarks of pairs have in common: their options, and rounds that interleave the pairs."""
import argparse
import sys


def options(doc):
    """A parser with the options that all have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--store", default="/dev/shm")
    parser.add_argument("--bin", default="target/release/trackerless")
    parser.add_argument("--python", default="target/peers-venv/bin/python")
    return parser


def interleave(bench, pairs, rounds):
    """What `bench.run` gave for each pair, one entry a round, so that a slow minute hits all alike."""
    results = {pair: [] for pair in pairs}
    for number in range(rounds + 1):
        for pair in pairs:
            result = bench.run(*pair)
            if number > 0:  # the first round warms up
                results[pair].append(result)
        print(f"round {number} of {rounds}", file=sys.stderr)
    return results
