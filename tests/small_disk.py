"""A file system of a few megabytes that can be filled to the last octet.

It takes root to mount one, or a user namespace in which one is: `unshare --map-root-user --mount scripts/test …`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDiskMissing(Exception):
    """None can be mounted here."""


class SmallDisk:
    """A tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> int:
        """Leave no room at all; how many octets that took."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        written = 0
        try:
            for size in (1 << 16, 1 << 12, 1):
                with suppress(OSError):
                    while True:
                        written += os.write(descriptor, bytes(size))
        finally:
            os.close(descriptor)
        return written

    def make_room(self) -> None:
        """Take the filling away."""
        self._filler.unlink()

    @contextmanager
    def full(self) -> Iterator[None]:
        """For the length of the block."""
        self.fill()
        try:
            yield
        finally:
            self.make_room()


@contextmanager
def mounted(folder: Path, megabytes: float) -> Iterator[SmallDisk]:
    """One at `folder`, which is made. Raises SmallDiskMissing."""
    folder.mkdir(parents=True)
    options = f"size={int(megabytes * 1024)}k,mode=755"
    if (mount := shutil.which("mount")) is None or (umount := shutil.which("umount")) is None:
        raise SmallDiskMissing("there is no mount on this machine (Debian: apt-get install mount)")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        raise SmallDiskMissing(f"{done.stderr.strip()} (run as root, or under unshare --map-root-user --mount)")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run([umount, "--lazy", folder], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[SmallDisk]:
    """As `mounted`, or skip; ENGINE_REQUIRE_SMALL_DISK=1 makes it a failure that there is none."""
    try:
        with mounted(folder, megabytes) as disk:
            yield disk
    except SmallDiskMissing as missing:
        if os.environ.get("ENGINE_REQUIRE_SMALL_DISK") == "1":
            pytest.fail(f"A small file system is required here: {missing}")
        pytest.skip(f"small file system: {missing}")
