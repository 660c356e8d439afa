"""A file that holds a secret for a command."""

import os
import stat

from engine.errors import ConfigError


def read_secret_file(path: str, what: str, most: int) -> bytes:
    """At most `most` octets of the `what` file at `path`. Raises ConfigError.

    An ordinary file must be its owner's alone; a pipe, such as a shell's <(command), is read as it is.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise ConfigError(
                    f"The {what} file {path} must be open to its owner only (mode 0600 or 0400), "
                    f"found mode {stat.S_IMODE(status.st_mode):04o}."
                )
            return file.read(most)
    except OSError as error:
        raise ConfigError(f"The {what} file {path} cannot be read: {error.strerror}.") from None
