"""Landlock around a child: no file by name, no TCP, no signal or trace beyond itself, whatever the filter let through.

Nothing is allowed by name, so there is nothing to list: what a child reads or writes it was given open. Kernels know
more of it the newer they are (docs.kernel.org/userspace-api/landlock.html); each is asked for all that it knows.
"""

import ctypes

CREATE_RULESET, RESTRICT_SELF = 444, 446  # on every machine
VERSION_FLAG = 1
PR_SET_NO_NEW_PRIVS = 38
FILES = (13, 14, 15, 15, 16)  # rights over files that versions 1 to 5 know, as a number of low bits
NET_VERSION, TCP = 4, 0b11  # bind and connect
SCOPE_VERSION, SCOPES = 6, 0b11  # abstract sockets and signals


class Ruleset(ctypes.Structure):
    """The kernel's `struct landlock_ruleset_attr`; an older kernel takes the longer form where the rest is zero."""

    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def version() -> int:
    """Landlock's version in this kernel; 0 where it has none or it is off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), VERSION_FLAG)))


def restrict() -> int:
    """Put this thread, and those that it starts, behind Landlock: the version that holds, 0 for none."""
    found = version()
    if not found:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    rules = Ruleset((1 << FILES[min(found, len(FILES)) - 1]) - 1, 0, 0)
    rules.net = TCP if found >= NET_VERSION else 0
    rules.scopes = SCOPES if found >= SCOPE_VERSION else 0
    size = ctypes.c_size_t(ctypes.sizeof(rules))
    ruleset = libc.syscall(ctypes.c_long(CREATE_RULESET), ctypes.byref(rules), size, 0)
    if ruleset < 0 or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return 0
    held = not libc.syscall(ctypes.c_long(RESTRICT_SELF), ruleset, 0)
    libc.close(ruleset)
    return found if held else 0
