"""The resident memory of this process, in MiB."""

import resource
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")


def now() -> float:
    """What it holds."""
    return psutil.Process().memory_info().rss / 2**20


def peak() -> float:
    """The most that it has held.

    Linux's own figure for the process: the one of `getrusage` starts with the parent's.
    """
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
