"""Kill writers with SIGKILL at every step and at thousands of moments; print what is left.

    python tests/benchmarks/kill.py [--tries 2000] [--size 64x48]

A warm process forks for each try. Steps are the beginning, the end and, for writes, the middle of every call that
opens, writes, syncs, renames, links, removes or cuts a file; moments are drawn from all the time that a write takes,
half of them from its last quarter, in which the files are touched. Leaves with 1 where anything else than the old file
or the whole new one was found: it must read, its pixels decode, its signature hold, and the log go on.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "output")]

from killing import Bench, Found  # noqa: E402 - found by the line above

WAYS = {"write": "over a picture", "embed": "metadata in place", "new": "a new picture"}
HEAD = (
    "| writer | killed at | times | old file | new file | anything else | new, not yet logged | torn log line, noted "
    "| temporary files left | most at once |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=2000, help="random moments for each writer")
    parser.add_argument("--size", default="64x48")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    chance = random.Random(1)
    print(HEAD + "\n" + "|---" * HEAD.count(" |") + "|", flush=True)
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        for way, called in WAYS.items():
            bench = Bench(Path(folder), way, (width, height))
            moments = [chance.uniform(0.75 if number % 2 else 0, 1.2) for number in range(options.tries)]
            for how, found in (("each step", bench.at_every_step()), ("any moment", bench.at_moments(moments))):
                print(row(called, how, found), flush=True)
                faults += found.faults
    print(*faults[:20], sep="\n", file=sys.stderr)
    sys.exit(bool(faults))


def row(called: str, how: str, found: Found) -> str:
    counts = (found.tries, found.old, found.new, len(found.faults), found.unlogged, found.torn, found.temporaries)
    return f"| {called} | {how} | {' | '.join(f'{each:,}' for each in counts)} | {found.most_temporaries} |"


if __name__ == "__main__":
    main()
