"""A process with an application in it: asks for one person when told to, and says what came of it. Run by tests."""

import json
import sys
import threading

from bff.factory import create_app
from bff.settings import Settings

PATH = "/me/linked-accounts"


def main():
    told = json.loads(sys.stdin.readline())
    app = create_app(Settings.from_env(told["environ"]), redis_seconds=10.0)
    statuses = []

    def ask():
        response = app.test_client().open(told.get("path", PATH), method=told.get("method", "GET"), headers=told["headers"])
        statuses.append(response.status_code)

    threads = [threading.Thread(target=ask) for _ in range(told["threads"])]
    sys.stderr.write("ready\n")
    sys.stderr.flush()
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stderr.write(json.dumps(statuses) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
