"""The tagging server as a process: `python -m instag_hf.testing PORT LATENCY SLOTS OPENAPI`."""

import argparse
import asyncio
from pathlib import Path

from instag_hf.testing.tagging import serve

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("port", type=int)
parser.add_argument("latency_s", type=float)
parser.add_argument("slots", type=int)
parser.add_argument("openapi", nargs="?", default="")
given = parser.parse_args()
asyncio.run(serve(given.port, given.latency_s, given.slots, Path(given.openapi) if given.openapi else None))
