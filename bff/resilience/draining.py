"""Whether the service is on its way out, and what it waits for: readiness says so first, then the server stops accepting.

The flag is one byte of memory that a process shares with its forks: `serve` raises it, every worker sees it at once, and asking
costs nothing. Under any other server nobody raises it. The deadline of changes is shared in the same way, upwards.
"""

import mmap
import struct

from bff.resilience.deadline import Deadline

_flag = mmap.mmap(-1, 1)  # 1: draining, 2: stopping
_changes_until = mmap.mmap(-1, 8)
_SECONDS = struct.Struct("=d")


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


def begin_change(deadline: Deadline) -> None:
    """A request that changes something has until then, also while the service stops."""
    if deadline.at > changes_end().at:
        _SECONDS.pack_into(_changes_until, 0, deadline.at)


def changes_end() -> Deadline:
    """The deadline of the last change that any process began; long passed if there was none."""
    return Deadline(_SECONDS.unpack_from(_changes_until, 0)[0])
