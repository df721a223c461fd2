"""Run an object store with S3's protocol on this machine: moto's server in a separate process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.serving import free_port

BUCKET = "bucket"


@contextmanager
def store(folder: Path) -> Iterator[dict[str, str]]:
    """Run a store with one bucket; yield the variables that a client needs. Local caches of its roots are in `folder`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(300):
            try:
                httpx.put(f"{url}/{BUCKET}").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, (folder / "store.log").read_text()
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
    finally:
        process.terminate()
        process.wait()
