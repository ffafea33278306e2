"""Secrets for the commands: from a file, the environment or a prompt, never from an argument."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from pgnet_trio.errors import PGNetError

__all__ = ["SecretError", "find_secret"]

LONGEST = 4096
"""Bytes of a secret with its line break; what is longer is another file."""


class SecretError(PGNetError):
    """A secret cannot be read; the message says from where, and never what it is."""


def find_secret(file: str | None, variable: str, prompt: str | None) -> str | None:
    """Look for a secret, in this order: in a file, in the environment, and by asking.

    Args:
        file: A file whose first line is the secret, or None.
        variable: An environment variable. This removes it from the environment, so that programs
            started from here do not inherit it. An empty one counts as none.
        prompt: What to ask in the terminal, without echo; None to ask nobody.

    Returns:
        The secret, or None where there is none. What a person typed may be empty.

    Raises:
        SecretError: The file cannot be read, or is empty.
        EOFError: The user closed the terminal's input instead of typing.
    """
    value = os.environ.pop(variable, "")
    if file is not None:
        try:
            with Path(file).open("rb") as opened:
                line = opened.readline(LONGEST + 1)
            # Some editors begin a file with a byte-order mark, which nobody sees.
            value = line.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise SecretError(f"cannot read {file!r}: {error.strerror}") from None
        except UnicodeError:
            raise SecretError(f"cannot read {file!r}: expected text in UTF-8") from None
        if len(line) > LONGEST:
            raise SecretError(f"expected a secret in the first line of {file!r}, got a longer line")
        if not value:
            raise SecretError(f"expected a secret in the first line of {file!r}, got an empty one")
    if value:
        return value
    return None if prompt is None else getpass.getpass(prompt)
