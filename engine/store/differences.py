"""Where two JSON values differ, by name only: what stands there may be what nobody is to read."""

from collections.abc import Iterator, Mapping

MOST = 64
"""Names that are listed."""


def list_differences(before: object, after: object) -> list[str]:
    """The dotted paths of the members that only one of the two has, or that differ; a list is one value.

    A name with a dot in it is quoted, as a configuration file has it. At most MOST, and then how many more there are.
    """
    names = [".".join(name) for name in _differences(before, after, ())]
    more = len(names) - MOST
    return names if more <= 0 else [*names[:MOST], f"and {more} more"]


def _differences(before: object, after: object, place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        if before != after or type(before) is not type(after):
            yield place
        return
    for name in sorted({*before, *after}):
        here = (*place, f'"{name}"' if "." in name else name)
        if name in before and name in after:
            yield from _differences(before[name], after[name], here)
        else:
            yield here
