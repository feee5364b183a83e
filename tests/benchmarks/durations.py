"""Sum what pytest says of its tests' durations, by folder and by file.

pytest --durations=0 -vv | python tests/benchmarks/durations.py [--files 20]
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import PurePosixPath

LINE = re.compile(r"(\d+\.\d+)s (?:call|setup|teardown) +(tests/[^:]+)::")


def main() -> None:
    """Print the sums, most first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20, metavar="N", help="how many of the slowest files to list")
    options = parser.parse_args()
    files: Counter[str] = Counter()
    for line in sys.stdin:
        if match := LINE.match(line):
            files[match[2]] += float(match[1])
    folders: Counter[str] = Counter()
    for name, seconds in files.items():
        folders["/".join(PurePosixPath(name).parts[:2])] += seconds
    for title, table in (("folder", folders.most_common()), ("file", files.most_common(options.files))):
        print(f"{'seconds':>8}  {title}")
        for name, seconds in table:
            print(f"{seconds:8.1f}  {name}")
    print(f"{sum(files.values()):8.1f}  in all")


if __name__ == "__main__":
    main()
