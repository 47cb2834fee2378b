"""Whether the service is on its way out: readiness says so first, then the server stops accepting.

The flag is one byte of memory that a process shares with its forks: `launch` raises it, every worker sees it at once, and asking
costs nothing. Under any other server nobody raises it.
"""

import mmap

_flag = mmap.mmap(-1, 1)


def is_draining() -> bool:
    """Whether the service was asked to stop and finishes what is in flight."""
    return _flag[0] == 1


def begin_draining() -> None:
    """Raise the flag for every worker. It is never lowered."""
    _flag[0] = 1
