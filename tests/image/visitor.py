"""What `make image-check` asks from inside, where the service's and the sandbox's loopback is: ``python - STEP < visitor.py``."""

import json
import sys
import time
import urllib.request

SERVICE, SANDBOX = "http://127.0.0.1:8000", "http://127.0.0.1:9000"


def ask(url, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
        return json.load(answer)


def linked(person):
    token = ask(f"{SANDBOX}/sandbox/token", {"person": person})["token"]
    return ask(f"{SERVICE}/me/linked-accounts", Authorization=f"Bearer {token}")["linkedAccounts"]


def ready():
    """Print when it was first ready, in seconds since 1970."""
    while True:
        try:
            ask(f"{SERVICE}/readyz")
        except OSError:
            time.sleep(0.01)
        else:
            print(time.time())
            return


def mei():
    """Print what Mei has linked."""
    print(*(account["provider"]["type"] for account in linked("mei")))


def many():
    """Ask for five hundred people."""
    for number in range(500):
        linked(f"user-{number}")


def slowly():
    """Print a line before GenAuth takes its time, and then how much Omar has linked."""
    ask(f"{SANDBOX}/sandbox/trouble", {"path": "/api/v3/get-identities", "latency": 1.5})
    print("asking", flush=True)
    print(len(linked("omar")))


if __name__ == "__main__":
    {"ready": ready, "mei": mei, "many": many, "slowly": slowly}[sys.argv[1]]()
