"""A wire to Redis that can be made slow, dripping or mute, and counts what goes over it."""

import contextlib
import socket
import threading
import time


class Proxy:
    """Loopback TCP in front of a socket path or a port. Set ``latency`` or ``drip`` (seconds per answer, per byte) at any time.

    ``hold`` keeps back answers until `release`; with ``context`` it speaks TLS.
    """

    def __init__(self, address, context=None):
        self._address = address
        self._context = context
        self.latency = 0.0
        self.drip = 0.0
        self.connections = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        self._forgotten, self._saying = 0, b""
        self._sockets = []
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis{'s' if self._context else ''}://127.0.0.1:{self.port}/0"

    def hold(self):
        self._flowing.clear()

    def release(self):
        self._flowing.set()

    def forget(self, saying=b""):
        """Connections of before stay open and carry nothing any more, as when a firewall forgot them; new ones work.

        ``saying`` is what they answer to everything, if not nothing.
        """
        self._forgotten, self._saying = self.connections, saying

    def lead_to(self, address):
        """New connections go there, those of before stay where they are."""
        self._address = address

    def reset(self):
        """Every connection ends in the middle of whatever it carried."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closed = True
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or a thread that waits in accept keeps it open
        self._listener.close()
        for thread in self._threads:
            thread.join(0.01)
        self.reset()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while not self._closed:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(inner,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, inner):
        self.connections += 1
        number = self.connections
        outer = socket.socket(socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET)
        try:
            if self._context:
                inner = self._context.wrap_socket(inner, server_side=True)
            outer.connect(self._address if isinstance(self._address, str) else ("127.0.0.1", self._address))
        except OSError:
            inner.close()
            outer.close()
            return
        self._sockets += [inner, outer]
        away = threading.Thread(target=self._pump, args=(inner, outer, False, number), daemon=True)
        away.start()
        self._pump(outer, inner, True, number)
        away.join()
        inner.close()
        outer.close()

    def _pump(self, source, sink, answers, number):
        try:
            while part := source.recv(65536):
                if number <= self._forgotten:
                    if not answers:
                        source.sendall(self._saying)
                    continue
                if answers:
                    time.sleep(self.latency)
                    self._flowing.wait()
                    if self.drip:
                        for byte in part:
                            time.sleep(self.drip)
                            sink.sendall(bytes([byte]))
                        continue
                sink.sendall(part)
        except (OSError, ValueError):
            pass
        finally:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
