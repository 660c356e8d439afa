"""The store has the shape that the corridor asks of a ledger."""

import inspect

import pytest

from engine.issuance import Ledger
from engine.store import Store


@pytest.mark.parametrize("name", [name for name in vars(Ledger) if not name.startswith("_")])
def test_the_store_takes_what_the_corridor_gives_its_ledger(name):
    asked = inspect.signature(getattr(Ledger, name)).parameters
    taken = inspect.signature(getattr(Store, name)).parameters
    assert {parameter: asked[parameter].kind for parameter in asked} == {
        parameter: taken[parameter].kind for parameter in taken
    }
