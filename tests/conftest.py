"""What holds for every test."""

import signal

# A shell that starts a command in the background lets it ignore SIGINT, and so do all its children: the tests of Ctrl-C
# would wait for ever. Handlers of Python are not inherited, so the children of a test begin with the default again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
