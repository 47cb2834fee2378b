"""Threads that come to a gate at the same time."""

import threading
import time

from bff.resilience.gate import Gate


class Crowd:
    """Threads before a gate whose first one is inside until `let_go`: ``inside(environ)`` is what they do in there."""

    def __init__(self, inside, permits=1):
        self.said = {}
        self._open = threading.Event()
        self._inside = inside
        self._gate = Gate(self._application, permits)
        self._threads = []

    def _application(self, environ, _start_response):
        self._open.wait(10)
        self.said[environ["name"]] = self._inside(environ)
        return [b""]

    def come(self, names, **more):
        for name in names:
            thread = threading.Thread(target=self._gate, args=({"name": name, **more}, None))
            thread.start()
            self._threads.append(thread)
            time.sleep(0.005)  # one after the other

    def let_go(self):
        self._open.set()
        self.are_gone()
        return self.said

    def are_gone(self):
        for thread in self._threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads), "somebody waits for ever"
