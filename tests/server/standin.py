"""An application with nothing in it but what the server's tests need: some to wait for, some to ask who answered."""

import os
import time

import redis
from flask import Flask, request

from bff.draining import is_draining


def create_app():
    app = Flask(__name__)
    kept = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=2)

    @app.get("/readyz")
    def readyz():
        return {"status": "draining" if is_draining() else "ready"}, 503 if is_draining() else 200

    @app.get("/livez")
    def livez():
        return {"pid": os.getpid(), "authorization": request.headers.get("Authorization")}

    @app.get("/sleep/<float:seconds>")
    def sleep(seconds):
        time.sleep(seconds)
        return {"slept": seconds}

    @app.get("/visits")
    def visits():
        return {"visits": kept.incr("visits")}

    return app
