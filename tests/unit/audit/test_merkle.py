"""Merkle trees: the vectors of the Certificate Transparency project, and RFC 6962 section 2.1 read once more."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.merkle import audit_path, leaf_hash, tree_hash
from engine.audit.verifier import _Tree, check_inclusion

# google/certificate-transparency, merkletree/merkle_tree_test.cc: the inputs, the roots of the first of them, and
# audit paths (leaf from 1, tree size, nodes).
INPUTS = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATHS = (
    (1, 1, ()),
    (
        1,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6,
        8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (3, 3, ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",)),
    (
        2,
        5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)
LEAVES = [leaf_hash(bytes.fromhex(octets)) for octets in INPUTS]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert tree_hash([]) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(("size", "root"), list(enumerate(ROOTS, 1)))
def test_roots_are_those_of_certificate_transparency(size: int, root: str) -> None:
    assert tree_hash(LEAVES[:size]).hex() == root


@pytest.mark.parametrize(("leaf", "size", "path"), PATHS)
def test_audit_paths_are_those_of_certificate_transparency(leaf: int, size: int, path: tuple[str, ...]) -> None:
    found = audit_path(leaf - 1, LEAVES[:size])
    assert tuple(node.hex() for node in found) == path
    check_inclusion(LEAVES[leaf - 1], leaf - 1, size, found, bytes.fromhex(ROOTS[size - 1]))


def naive_tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]) word for word, for leaves that are hashed already."""
    n = len(leaves)
    if n == 0:
        return hashlib.sha256().digest()
    if n == 1:
        return leaves[0]
    k = 1
    while 2 * k < n:
        k *= 2
    return hashlib.sha256(b"\x01" + naive_tree_hash(leaves[:k]) + naive_tree_hash(leaves[k:])).digest()


def naive_path(m: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """PATH(m, D[n]) word for word."""
    n = len(leaves)
    if n == 1:
        return ()
    k = 1
    while 2 * k < n:
        k *= 2
    if m < k:
        return (*naive_path(m, leaves[:k]), naive_tree_hash(leaves[k:]))
    return (*naive_path(m - k, leaves[k:]), naive_tree_hash(leaves[:k]))


@given(st.lists(st.binary(max_size=3).map(leaf_hash), min_size=1, max_size=70), st.data())
def test_every_tree_is_the_one_of_the_standard(leaves: list[bytes], data: st.DataObject) -> None:
    root = naive_tree_hash(leaves)
    assert tree_hash(leaves) == root
    growing = _Tree()
    for leaf in leaves:
        growing.add(leaf)
    assert growing.root() == root
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = audit_path(index, leaves)
    assert path == naive_path(index, leaves)
    check_inclusion(leaves[index], index, len(leaves), path, root)


@given(st.integers(2, 70), st.data())
def test_a_proof_that_was_changed_proves_nothing(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path, root = audit_path(index, leaves), tree_hash(leaves)
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    broken = data.draw(st.integers(0, len(path) - 1))
    wrong = [
        (leaves[other], index, path),
        (leaves[index], other, path),
        (leaves[index], index, path[:-1]),
        (leaves[index], index, (*path, root)),
        (leaves[index], index, (*path[:broken], root, *path[broken + 1 :])),
    ]
    for leaf, place, nodes in wrong:
        with pytest.raises(ValueError, match="audit path"):
            check_inclusion(leaf, place, size, nodes, root)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_leaf_that_is_not_there_has_no_path(index: int) -> None:
    with pytest.raises(IndexError):
        audit_path(index, LEAVES[:3])
    with pytest.raises(ValueError, match="index"):
        check_inclusion(LEAVES[0], index, 3, (), bytes.fromhex(ROOTS[2]))
