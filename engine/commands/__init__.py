"""What the commands do that are more than a call: parse, act, print."""
