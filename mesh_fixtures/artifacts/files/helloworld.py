"""HelloWorld: answers with its version and the name of its pod, like the guide's sample."""

import os
import signal
import socket
import sys
from types import FrameType

from flask import Flask

app = Flask(__name__)
version = os.environ.get("SERVICE_VERSION", "unknown")
instance = os.environ.get("HOSTNAME", "unknown")


@app.route("/hello")
def hello() -> str:
    return f"Hello version: {version}, instance: {instance}\n"


@app.route("/health")
def health() -> str:
    return f"Helloworld version {version} is healthy\n"


def stop(_number: int, _frame: FrameType | None) -> None:
    """The first process of a container is not ended by SIGTERM unless it says so itself."""
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    every_address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    app.run(host=every_address, port=5000, threaded=True)
