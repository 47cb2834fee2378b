"""The dev server, which ``make run`` starts: the sandbox as GenAuth, the service, and a request to copy.

The service is started by the Procfile's own line, so it runs as it is deployed. Everything ends with this process, however it
ends.
"""

import argparse
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from bff.server import signals
from bff.server.child_processes import end_with_parent, tie_forks_to_this_process
from bff.server.listening import CannotListen, hold

_ROOT = Path(__file__).resolve().parents[2]
_APP_ID = "60193c610f9117e7cb049159"
_APP_SECRET = "sandbox-application-secret-3f1c9a7e5b2d"  # noqa: S105 - the sandbox's, which everybody may know
_HOST = "0.0.0.0"  # noqa: S104 - a browser may be on another machine than the dev server
_READY_WITHIN_SECONDS = 60
_TOKEN_LASTS_SECONDS = 7 * 24 * 60 * 60

Program: TypeAlias = "subprocess.Popen[bytes]"


def main() -> None:
    """Run until asked to stop, with Ctrl-C or SIGTERM. The exit code is 1, after a sentence, when something could not run."""
    options = _options()
    try:
        for signum in signals.stopping():
            signal.signal(signum, _stop)
        if options.with_parent is not None:
            end_with_parent(options.with_parent)
        tie_forks_to_this_process()
        _run(_port(), options.sandbox_port, options.keys)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bff.server.dev", description="The service with the sandbox as GenAuth.")
    parser.add_argument("--with-parent", type=int, metavar="PID", help="end when the process that started this one, PID, ends")
    parser.add_argument("--sandbox-port", type=int, default=0, help="for the sandbox; where it is taken, a free one")
    parser.add_argument("--keys", help="a file to keep the sandbox's signing keys in: its tokens are good in the next run, too")
    return parser.parse_args()


def _run(port: int, sandbox_port: int, keys: str | None) -> NoReturn:
    with ExitStack() as running:
        print("Starting the sandbox as GenAuth ...", flush=True)
        url = f"http://127.0.0.1:{port}"
        # A new one in each run, unless it is set: the service may listen for other machines, too.
        webhook_secret = os.environ.get("WEBHOOK_SECRET", "").strip(" ,") or secrets.token_urlsafe(32)
        command = [sys.executable, "-m", "bff.sandbox", "--port", str(_if_free(sandbox_port)), "--app-id", _APP_ID]
        command += ["--webhook-url", f"{url}/webhooks/genauth", f"--webhook-secret={webhook_secret.partition(',')[0].strip()}"]
        genauth = _start(running, [*command, *(("--keys", keys) if keys else ())], stdout=subprocess.PIPE)
        genauth_url = _first_line(genauth)

        print(f"Starting the service with a private Valkey: {web_command()} ...", flush=True)
        service = _start(running, ["/bin/sh", "-c", f"exec {web_command()}"], env=_environment(genauth_url, port, webhook_secret))
        _wait_until_ready(service, f"{url}/readyz")
        print(_welcome(url, genauth_url, _token(genauth_url), _token(genauth_url, kind="id")), flush=True)
        code = service.wait()
    raise SystemExit(f"The service ended by itself with exit code {code}; its last lines are above.")


def _port() -> int:
    text = os.environ.get("PORT") or "8000"
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65_536:
        _refuse("PORT is no port: expected a whole number from 1 to 65535.")
    try:
        hold(_HOST, int(text)).close()
    except CannotListen as error:
        _refuse(str(error))
    return int(text)


def _if_free(port: int) -> int:
    """That port, or 0 with a sentence: tokens name their sandbox with its port, and are good nowhere else."""
    try:
        hold("127.0.0.1", port).close()
    except CannotListen:
        print(f"Port {port} is not free. The sandbox takes another one, so tokens of earlier runs are not good in this one.")
        return 0
    return port


def _refuse(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def web_command() -> str:
    """The command of the Procfile's ``web:`` line, without the ``exec`` that replaces the shell by it."""
    web = re.search(r"^web:\s*(?:exec\s+)?(.+)$", (_ROOT / "Procfile").read_text(), re.MULTILINE)
    if web is None:
        raise SystemExit("The Procfile has no web: line.")
    return web[1]


def _environment(genauth_url: str, port: int, webhook_secret: str) -> dict[str, str]:
    """What an operator would set. A GENAUTH_* variable of the shell is for another GenAuth and left out."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GENAUTH_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    server = {"HOST": _HOST, "PORT": str(port), "PATH": path, "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    genauth = {"GENAUTH_HOST": genauth_url, "GENAUTH_APP_ID": _APP_ID, "GENAUTH_APP_SECRET": _APP_SECRET}
    return inherited | server | genauth | {"REDIS_URL": "embedded", "WEBHOOK_SECRET": webhook_secret}


def _token(genauth_url: str, **which: str) -> str:
    wanted = {"person": "mei", "lifetime": _TOKEN_LASTS_SECONDS, **which}
    return str(json.loads(_ask(f"{genauth_url}/sandbox/token", wanted))["token"])


def _wait_until_ready(service: Program, url: str) -> None:
    give_up = time.monotonic() + _READY_WITHIN_SECONDS
    while time.monotonic() < give_up:
        if (code := service.poll()) is not None:
            raise SystemExit(f"The service did not start (exit code {code}); its reason is above.")
        try:
            _ask(url)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"The service was not ready within {_READY_WITHIN_SECONDS} seconds.")


def _ask(url: str, body: Mapping[str, object] | None = None) -> bytes:
    """The answer's body; `OSError` when there is none, or when it is an error."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)  # noqa: S310 - a loopback URL of ours
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        content: bytes = answer.read()
    return content


def _welcome(url: str, genauth_url: str, token: str, id_token: str) -> str:
    bearer = f"-H 'Authorization: Bearer {token}'"
    link = f"""'{{"provider": "my-github", "idToken": "{id_token}"}}'"""
    return f"""
The service answers on {url}, against the sandbox as GenAuth on {genauth_url}.

Mei's token, valid for a week:

{token}

What has Mei linked?

curl -s {url}/me/linked-accounts {bearer}

What could Mei link, and what may be unlinked?

curl -s '{url}/me/linked-accounts?include=providers,unlink' {bearer}

Link GitHub: open the `url` that comes back in a browser, and ask for {url}/me/linked-accounts/links/<state>.

curl -s {url}/me/linked-accounts/links {bearer} -H 'Content-Type: application/json' -d {link}

Link QQ elsewhere, as another client of GenAuth's does: its event comes to {url}/webhooks/genauth, and the next answer has it.

curl -s {genauth_url}/sandbox/link -d '{{"person": "mei", "source": "my-qq"}}' && curl -s {url}/me/linked-accounts {bearer}

Unlink WeChat:

curl -s -X DELETE {url}/me/linked-accounts/62f209327ab3cc10d9016ee5 {bearer}

Somebody else's token (the people: curl -s {genauth_url}/sandbox/people):

curl -s {genauth_url}/sandbox/token -d '{{"person": "omar"}}'

The people, kinds of tokens and what can go wrong on purpose: docs/sandbox.md.
Also there: {url}/docs, {url}/openapi.json, {url}/readyz. Ctrl-C ends everything.
"""


def _start(running: ExitStack, command: list[str], **options: Any) -> Program:  # noqa: ANN401 - Popen's own
    """A child in a process group of its own: Ctrl-C reaches us alone, and ``running`` stops our children in order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.stopping())  # at no moment is there a child that nobody ends
    program = subprocess.Popen(  # noqa: S603 - our own Procfile and our own sandbox
        command,
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_nothing,  # noqa: PLW1509 - there is one thread here
        **options,
    )
    running.callback(_end, program)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.stopping())
    return program


def _first_line(program: Program) -> str:
    """The first line of its output; what follows is dropped."""
    assert program.stdout is not None  # noqa: S101 - PIPE was asked for; this tells mypy
    line = program.stdout.readline().decode().strip()
    threading.Thread(target=program.stdout.read, daemon=True).start()
    if not line:
        raise SystemExit("The GenAuth made up for development did not start; it says why above.")
    return line


def _end(program: Program) -> None:
    """Ask it to stop and wait for it; nothing happens when it has ended."""
    _stop_no_more()
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)  # the group: some shells stay in front of what they start
    program.wait()


def _stop(*_: object) -> NoReturn:
    _stop_no_more()
    raise KeyboardInterrupt


def _stop_no_more() -> None:
    """What is being ended is ended in order, whoever presses Ctrl-C again."""
    for signum in signals.stopping():
        signal.signal(signum, signal.SIG_IGN)


def _nothing() -> None:
    """A ``preexec_fn``: only with one does subprocess run the fork hooks that tie the child to us."""


if __name__ == "__main__":
    main()
