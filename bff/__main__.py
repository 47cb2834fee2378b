"""The operator's command line: ``python -m bff --help``."""

from bff.cli import main
from bff.observability import logging as logs

if __name__ == "__main__":
    logs.configure("critical")  # a command says itself what came of it
    main(prog_name="python -m bff")
