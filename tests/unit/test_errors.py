"""The tree drawn at the top of engine/errors.py is the tree of classes below it."""

import inspect
import re

from engine import errors


def drawn_tree() -> dict[str, str | None]:
    """Class name to parent, as the module docstring draws them; None for the root."""
    tree: dict[str, str | None] = {}
    ancestors: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"((?:│   |    )*)([├└]── )?([A-Z][A-Za-z]+)(?:  |$)", line)
        if found is None:
            continue
        indent, branch, name = found.groups()
        depth = len(indent) // 4 + 1 if branch else 0
        del ancestors[depth:]
        assert name not in tree, f"{name} is drawn twice."
        tree[name] = ancestors[-1] if ancestors else None
        ancestors.append(name)
    return tree


def defined_tree() -> dict[str, str | None]:
    """Class name to parent, as Python sees them; None for a class whose parent is not ours."""
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    return {
        kind.__name__: kind.__base__.__name__ if kind.__base__.__module__ == errors.__name__ else None
        for kind in classes
    }


def test_the_drawn_tree_of_errors_is_the_defined_one():
    assert drawn_tree() == defined_tree()


def test_every_error_of_the_engine_has_one_root():
    assert [name for name, parent in defined_tree().items() if parent is None] == ["EngineError"]


def test_an_error_carries_its_sentence_and_its_details():
    error = errors.PolicyRefusal("Two findings.", details=["first", "second"])
    assert (str(error), error.message, error.details) == ("Two findings.", "Two findings.", ("first", "second"))


def test_a_taken_path_is_named_by_the_error():
    assert errors.AlreadyExists("It already exists.", target="a.b.c").target == "a.b.c"
