"""Work in a thread of its own. There may be none to be had, where containers and small machines limit them."""

import threading
from collections.abc import Callable


def in_background(work: Callable[..., object], *args: object, name: str) -> bool:
    """Start ``work``, for whose end the process does not wait; returns False if no thread is to be had, and it is not done."""
    try:
        threading.Thread(target=work, args=args, name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True
