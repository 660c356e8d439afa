"""Checkpoints of the audit trail: made and signed, kept by a witness, and verified by whoever doubts them.

`verifier` is a file that can be taken away and run alone; it imports nothing of the engine.
"""
