"""Whether the service is on its way out: readiness says so first, then the server stops accepting.

The flag is one byte of memory that a process shares with its forks: `serve` raises it, every worker sees it at once, and asking
costs nothing. Under any other server nobody raises it.
"""

import mmap

_flag = mmap.mmap(-1, 1)  # 1: draining, 2: stopping


def is_draining() -> bool:
    """Whether the service was asked to stop: it is unready, and finishes what is in flight."""
    return _flag[0] > 0


def is_stopping() -> bool:
    """Whether it has been unready for long enough, and accepts no more."""
    return _flag[0] > 1


def begin_draining() -> None:
    """Raise the flag for every process. It is never lowered."""
    _flag[0] = max(_flag[0], 1)


def begin_stopping() -> None:
    """The last step."""
    _flag[0] = 2
