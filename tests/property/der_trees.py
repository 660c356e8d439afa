"""DER as trees that can be spoilt in one place and written again with every length around it right."""

from dataclasses import dataclass
from random import Random

OCTET_STRING = 0x04


@dataclass
class Node:
    """One element: its tag, and either its content or its children; `wrapped` is DER inside an OCTET STRING."""

    tag: int
    content: bytes = b""
    children: list["Node"] | None = None
    header: bytes | None = None
    before: bytes = b""
    after: bytes = b""

    def encode(self) -> bytes:
        content = self.content if self.children is None else b"".join(child.encode() for child in self.children)
        content += self.after
        header = self.header if self.header is not None else bytes([self.tag]) + minimal_length(len(content))
        return header + content

    def walk(self) -> list["Node"]:
        return [self, *(node for child in self.children or () for node in child.walk())]


def minimal_length(length: int) -> bytes:
    if length < 128:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def read_tree(octets: bytes) -> Node:
    """Read one DER element and all below it, the insides of OCTET STRINGs that hold exactly one element included."""
    nodes = _read_all(octets)
    if len(nodes) != 1:
        raise ValueError("one element was expected")
    return nodes[0]


def _read_all(octets: bytes) -> list[Node]:
    nodes = []
    position = 0
    while position < len(octets):
        tag = octets[position]
        length = octets[position + 1]
        start = position + 2
        if length > 127:
            start += length & 0x7F
            length = int.from_bytes(octets[position + 2 : start], "big")
        content = octets[start : start + length]
        if len(content) != length or tag & 0x1F == 0x1F:
            raise ValueError("the octets end within an element")
        if tag & 0x20:
            nodes.append(Node(tag, children=_read_all(content)))
        else:
            nodes.append(Node(tag, content, _read_wrapped(content) if tag == OCTET_STRING else None))
        position = start + length
    return nodes


def _read_wrapped(content: bytes) -> list[Node] | None:
    try:
        nodes = _read_all(content)
    except (ValueError, IndexError):
        return None
    return nodes if len(nodes) == 1 else None


def spoil(node: Node, random: Random) -> str:
    """Spoil `node` in one of the ways that BER allows and DER does not, or in any other way; say which."""
    content = node.content if node.children is None else b"".join(child.encode() for child in node.children)
    length = len(content)
    ways = {
        "long length": lambda: _set(node, header=bytes([node.tag, 0x82]) + length.to_bytes(2, "big")),
        "very long length": lambda: _set(node, header=bytes([node.tag, 0x84]) + length.to_bytes(4, "big")),
        "indefinite length": lambda: _set(node, header=bytes([node.tag, 0x80]), after=b"\x00\x00"),
        "octets after": lambda: _set(
            node, after=random.choice([b"\x00", b"\x05\x00", b"\x02\x01\x00", b"\x01\x01\x00"])
        ),
        "first octet": lambda: _set(node, children=None, content=bytes([random.randrange(256)]) + content[1:]),
        "last octet": lambda: _set(node, children=None, content=content[:-1] + bytes([random.randrange(256)])),
        "octet in front": lambda: _set(
            node, children=None, content=bytes([random.choice([0, 1, 0x7F, 0x80, 0xFF])]) + content
        ),
        "octet less": lambda: _set(node, children=None, content=content[:-1]),
        "emptied": lambda: _set(node, children=None, content=b""),
        "tag": lambda: _set(
            node, tag=random.choice([1, 2, 3, 4, 5, 6, 10, 12, 19, 22, 23, 24, 30, 0x30, 0x31, 0x80, 0xA0])
        ),
        "constructed": lambda: _set(node, tag=node.tag ^ 0x20),
        "boolean": lambda: _set(node, tag=1, children=None, content=bytes([random.choice([0, 1, 0xFE, 0xFF])])),
    }
    if node.children:
        children = node.children
        ways |= {
            "reversed": lambda: _set(node, children=children[::-1]),
            "doubled": lambda: _set(node, children=[children[0], *children]),
            "dropped": lambda: _set(node, children=children[1:]),
            "FALSE": lambda: _set(node, children=[children[0], Node(1, b"\x00"), *children[1:]]),
            "FALSE in front": lambda: _set(node, children=[Node(1, b"\x00"), *children]),
        }
    way = random.choice(list(ways))
    ways[way]()
    return way


def _set(node: Node, **changes: object) -> None:
    for name, value in changes.items():
        setattr(node, name, value)
