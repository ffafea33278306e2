"""Runs a program whose passwords cost next to nothing to hash and to check.

``python -m tests.kit.cheap_passwords FILE`` or ``… -m MODULE``, and the program's arguments.
Otherwise a log-in takes a third of the time that a program takes to start, and some of them at
once, on a busy machine, longer than a server waits for one. Nor does the garbage collector look
through all modules while they are imported, which takes a tenth of the start.
"""

from __future__ import annotations

import gc
import os
import runpy
import sys

if __name__ == "__main__":
    gc.set_threshold(50_000)
    from pgnet_trio.crypto import PasswordHasher

    PasswordHasher.__init__.__defaults__ = (1, 8192)
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        # What a program imports lies beside it.
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")
