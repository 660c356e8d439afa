"""Merkle trees as RFC 6962 section 2.1 hashes them, with SHA-256.

A tree here is the sequence of its leaves' hashes. An event's hash in the audit trail is that of a leaf.
"""

from collections.abc import Sequence
from hashlib import sha256

LEAF, NODE = b"\x00", b"\x01"
"""What is hashed before the octets of a leaf, and before the two halves of a node."""


def leaf_hash(octets: bytes) -> bytes:
    """The hash of a tree with these octets for its one leaf."""
    return sha256(LEAF + octets).digest()


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """The Merkle Tree Hash; `leaves` are hashes of leaves, in order."""
    if not leaves:
        return sha256().digest()
    # Perfect trees from left to right, each smaller than the one before: the binary digits of how many leaves.
    perfect: list[bytes] = []
    for count, leaf in enumerate(leaves):
        node = leaf
        while count & 1:
            node = _node(perfect.pop(), node)
            count >>= 1
        perfect.append(node)
    root = perfect.pop()
    while perfect:
        root = _node(perfect.pop(), root)
    return root


def audit_path(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """The Merkle audit path (section 2.1.1) of the leaf at `index`, from 0, lowest node first.

    Raises IndexError if there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"Expected the index of one of {len(leaves)} leaves, found {index}.")
    path: list[bytes] = []
    while len(leaves) > 1:
        split = 1 << (len(leaves) - 1).bit_length() - 1
        left, right = leaves[:split], leaves[split:]
        if index < split:
            path.append(tree_hash(right))
            leaves = left
        else:
            path.append(tree_hash(left))
            leaves, index = right, index - split
    return tuple(reversed(path))


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(NODE + left + right).digest()
