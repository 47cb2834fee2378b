"""``make image-check``: build the image for real, run it as narrowly as a platform would, ask it, stop it.

No registry is asked and no container engine has to run: mmdebstrap makes a Debian that stands in for the base, buildah builds
on it, and podman runs what came out with runc. Packages come from Debian and PyPI as on any other day. Everything is in a
temporary folder and gone at the end. The containers share one loopback and have no other network.

The exit code is 0 when every claim held, and also when something is missing here: a sentence says what.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from bff.sandbox.sandbox import APP_ID

ROOT = Path(__file__).parents[2]
VISITOR = (ROOT / "tests/image/visitor.py").read_bytes()
PROGRAMS = ("mmdebstrap", "buildah", "podman", "runc")
MOST_BYTES_ADDED = 100_000_000
READY_WITHIN_SECONDS = 2.0

# The engine's defaults ask for systemd, and for higher limits than may be set everywhere.
CONTAINERS = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
static_dir = "{folder}/static"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""
NARROW = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:size=16m"),
    *("--cap-drop=all", "--security-opt=no-new-privileges", "--memory=256m", "--pids-limit=256"),
)


class Failed(Exception):
    """A claim that did not hold, or a program that ended with an error."""


def main():
    if missing := missing_here():
        print(f"image-check is left out: {missing}")
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="image-check-") as folder:
        engine = Engine(Path(folder))
        try:
            look_at_the_files()
            build(engine)
            start_sandbox(engine)
            look_inside(engine)
            run(engine)
        except Failed as failed:
            print(f"image-check failed. {failed}", file=sys.stderr)
            return 1
        finally:
            engine.clear_away()
    print(f"Everything held, in {time.monotonic() - begun:.0f} s. Not tried: a Docker engine, and the base from a registry.")
    return 0


def missing_here():
    """What has to be there and is not, as a sentence; or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux."
    absent = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return f"first apt-get install --no-install-recommends {' '.join(absent)}" if absent else ""


def claim(what, held, figure=""):
    """Print the claim with its figure, and end here when it does not hold."""
    sentence = f"{what}: {figure}" if figure else what
    if not held:
        raise Failed(sentence)
    print(f"  {sentence}", flush=True)


def output(*command, **options):
    """What a program printed; `Failed` with everything it said when it ended with an error."""
    ran = subprocess.run(command, capture_output=True, check=False, **{"cwd": ROOT, "timeout": 300} | options)
    if ran.returncode:
        said = (ran.stdout + ran.stderr).decode(errors="replace")
        raise Failed(f"{' '.join(command[:4])} … ended with {ran.returncode}:\n{said}")
    return ran.stdout.decode().strip()


class Engine:
    """buildah and podman with settings and storage of their own, in one folder."""

    def __init__(self, folder):
        self.folder = folder
        files, processes = (resource.getrlimit(limit)[1] for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        limits = {"files": most(files, 65_536), "processes": most(processes, 32_768)}
        (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder, **limits))
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        self.environ = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "TMPDIR": str(folder),
        }

    def __call__(self, program, *arguments, **options):
        return output(program, *arguments, env=self.environ, **options)

    def visit(self, step):
        """Run a step of visitor.py beside the sandbox; what it printed."""
        return self("podman", "exec", "--interactive", "sandbox", "python", "-", step, input=VISITOR)

    def visiting(self, step):
        """The same while we go on."""
        command = ["podman", "exec", "--interactive", "sandbox", "python", "-", step]
        visitor = subprocess.Popen(
            command, env=self.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        visitor.stdin.write(VISITOR)
        visitor.stdin.close()
        visitor.stdin = None
        return visitor

    def inspect(self, kind, name, field):
        return json.loads(self("podman", kind, "inspect", "--format", f"{{{{json .{field}}}}}", name))

    def clear_away(self):
        """End the containers, the service first, which is in the sandbox's network, and leave nothing mounted in the folder."""
        for container in ("service", "sandbox"):
            with suppress(Failed):
                self("podman", "rm", "--force", "--time=0", container)
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for path in reversed([path for path in mounted if Path(path).is_relative_to(self.folder)]):
            output("umount", path)


def most(allowed, wanted):
    return wanted if allowed == resource.RLIM_INFINITY else min(allowed, wanted)


def look_at_the_files():
    programs = Path(sys.executable).parent
    output(str(programs / "hadolint"), "Dockerfile")
    output(str(programs / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    claim("hadolint and the compose specification have nothing to say", held=True)


def build(engine):
    debian = engine.folder / "debian.tar"
    bare = ("--variant=minbase", "--include=python3-venv,ca-certificates", "--dpkgopt=force-unsafe-io")
    output("mmdebstrap", *bare, "bookworm", str(debian))
    engine("podman", "import", "--quiet", str(debian), "localhost/base")
    debian.unlink()
    claim("a Debian is there as base", held=True)
    # As this machine reaches PyPI: by its authorities and pip's settings. The image gets neither.
    ours = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
    engine(
        *("buildah", "bud", "--isolation=chroot", "--format=docker", "--pull-never", "--build-arg=BASE=localhost/base"),
        *(f"--volume={path}:{path}:ro" for path in ours),
        *("--tag=localhost/linked-accounts", "."),
    )
    base, image = (engine.inspect("image", name, "Size") for name in ("localhost/base", "localhost/linked-accounts"))
    claim(
        "the image is built; over its base it has at most 100 MB",
        image - base <= MOST_BYTES_ADDED,
        f"{(image - base) / 1e6:.0f} MB",
    )


def look_inside(engine):
    health = engine.inspect("image", "localhost/linked-accounts", "Config.Healthcheck")
    labels = engine.inspect("image", "localhost/linked-accounts", "Labels")
    claim("it has a health check, and labels", health and labels["org.opencontainers.image.version"])
    app, programs = (engine("podman", "exec", "sandbox", "ls", "-A", folder).split() for folder in ("/app", "/venv/bin"))
    claim("it has what it runs and nothing else of ours", {"app.py", "bff", "schemas"} >= set(app) - {"__pycache__"})
    claim("pip is not in it", "pip" not in programs)


START = ("podman", "run", "--detach", *NARROW)


def start_sandbox(engine):
    own = ("--name=sandbox", "--network=none", "--no-healthcheck")
    engine(*START, *own, "localhost/linked-accounts", *("python", "-m", "bff.sandbox"))


def run(engine):
    waiting = engine.visiting("ready")
    settings = {"GENAUTH_HOST": "http://127.0.0.1:9000", "GENAUTH_APP_ID": APP_ID, "REDIS_URL": "embedded"}
    environ = [f"--env={name}={value}" for name, value in settings.items()]
    engine(*START, "--name=service", "--network=container:sandbox", *environ, "localhost/linked-accounts")
    try:
        ready, _ = waiting.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        waiting.kill()
        raise Failed("it was not ready within 30 s:\n" + engine("podman", "logs", "service")) from None
    took = float(ready) - datetime.fromisoformat(engine.inspect("container", "service", "State.StartedAt")).timestamp()
    claim("ready within 2 s", took <= READY_WITHIN_SECONDS, f"{took:.1f} s")

    status = engine("podman", "exec", "service", "cat", "/proc/1/status")
    held = dict(line.split(":", 1) for line in status.splitlines())
    claim(
        "its first process is nobody, without capabilities or a way to get any",
        held["Uid"].split() == ["10001"] * 4 and int(held["CapBnd"], 16) == 0 and held["NoNewPrivs"].strip() == "1",
    )
    try_to_write = (
        "for name in /x /app/x /venv/x /var/tmp/x /home/x; do touch $name && echo $name; done 2>/dev/null; touch /tmp/x"
    )
    claim("it can write in /tmp alone", engine("podman", "exec", "service", "sh", "-c", try_to_write) == "")
    claim("Mei is told what she has linked", engine.visit("mei") == "lark wechat")
    engine("podman", "healthcheck", "run", "service")
    claim("it is healthy", held=True)
    engine.visit("many")
    peak = engine(
        "podman",
        "exec",
        "service",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2>/dev/null || :",
    )
    claim(
        "five hundred people later it lives within 256 MB",
        not engine.inspect("container", "service", "State.OOMKilled"),
        f"{int(peak.split()[0]) / 1e6:.0f} MB at most" if peak else "",
    )

    asking = engine.visiting("slowly")
    asking.stdout.readline()
    time.sleep(0.3)
    begun = time.monotonic()
    engine("podman", "stop", "--time=10", "service")
    took = time.monotonic() - begun
    answer, _ = asking.communicate(timeout=30)
    claim("stopped with a request in flight: it is answered", answer.strip() == b"2")
    code = engine.inspect("container", "service", "State.ExitCode")
    claim("and the service ends by itself, with exit code 0", code == 0 and took < 9, f"{code} after {took:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
