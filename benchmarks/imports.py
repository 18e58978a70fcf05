"""Print what it costs to open the package: milliseconds in a fresh interpreter, the median of nine.

python benchmarks/imports.py
"""

import statistics
import subprocess
import sys
import time

LINES = {
    "python (nothing)": "pass",
    "import instag_hf": "import instag_hf",
    "instag --help": "from instag_hf.cli import cli; cli(['--help'], standalone_mode=False)",
    "instag_hf.tag": "import instag_hf; instag_hf.tag",
    "import datasets": "import datasets",
}


def milliseconds(code):
    """Time a fresh interpreter that runs one line."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    for name, code in LINES.items():
        print(f"{name:<20} {statistics.median(milliseconds(code) for _ in range(9)):7.0f} ms")
