"""`sense doctor`: what this machine and the stack have, what is wrong, and how to mend it."""
