"""What the commands do that are more than a call: parse, act, print."""

UNFINISHED = 3
"""The exit code of a command that was to look for faults and could not, so that it is not taken for one."""
