"""``python -m bff.sandbox --port 9000``: a GenAuth until SIGTERM or Ctrl-C. Prints its URL once it listens."""

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from bff.sandbox.application import APP_ID, APP_SECRET
from bff.sandbox.events import Webhook
from bff.sandbox.sandbox import Sandbox
from bff.sandbox.tokens import kept_keys

_PR_SET_PDEATHSIG = 1
_ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}


def main() -> int:
    """Run until a signal. The exit code: 0 after a signal, 1 if the port is taken or the keys cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m bff.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=9000, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--app-id", default=APP_ID)
    parser.add_argument("--app-secret", default=APP_SECRET)
    parser.add_argument("--issuer", help="of the tokens, if not the URL's")
    parser.add_argument("--keys", type=Path, help="a file to keep the signing keys in: tokens outlive this run")
    parser.add_argument("--webhook-url", help="where to send events")
    parser.add_argument("--webhook-secret", default="", help="what they are sent with")
    parser.add_argument(
        "--with-parent",
        type=int,
        nargs="?",
        const=os.getppid(),
        metavar="PID",
        help="end when the process that started this one ends; with its PID also if it has ended by now",
    )
    options = parser.parse_args()
    try:
        webhook = Webhook(options.webhook_url, options.webhook_secret)
    except ValueError as error:
        parser.error(str(error))

    # Blocked before any thread starts, so that the signal comes to sigwait below and nowhere else.
    ends = _ENDS - {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else _ENDS  # nohup
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    if options.with_parent is not None:
        end_with(options.with_parent)
    allow_many_connections()
    try:
        keys = kept_keys(options.keys) if options.keys else None
    except (OSError, ValueError) as error:
        print(f"cannot use the keys of {options.keys}: {error}", file=sys.stderr)  # noqa: T201  # a command speaks
        return 1
    sandbox = Sandbox(
        options.port,
        host=options.host,
        app_id=options.app_id,
        app_secret=options.app_secret,
        issuer=options.issuer,
        keys=keys,
        webhook=webhook,
    )
    try:
        sandbox.start()
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)  # noqa: T201  # a command speaks
        return 1
    print(sandbox.url, flush=True)  # noqa: T201  # who started it waits for this line
    signal.sigwait(ends)
    sandbox.stop()
    return 0


def end_with(parent: int) -> None:
    """Ask the kernel for a SIGTERM when the parent ends. Linux only; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # It may have ended before that; then no signal comes.
    if os.getppid() != parent:
        raise SystemExit(0)


def allow_many_connections() -> None:
    """Raise the limit of open files: each of thousands of hanging clients needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
