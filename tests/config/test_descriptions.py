"""The descriptions of the keys of a config."""

from __future__ import annotations

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict

from recctl.config import schema
from recctl.config.descriptions import descriptions

SECTIONS = [
    section for section in vars(schema).values() if isinstance(section, type) and issubclass(section, schema.Section)
]


class Described(BaseModel):
    """A section that pydantic describes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    first: int = 1
    """A text
    of two lines."""
    bare: int = 2
    last: str = pydantic.Field("x", min_length=1)
    """Another text."""


class Derived(Described):
    """Its fields come after those of its base."""

    last: str = "y"
    """A text that replaces another."""
    own: int = 3
    """A text of its own."""


@pytest.mark.parametrize("section", [Described, Derived])
def test_descriptions_of_fields_equal_those_of_pydantic(section: type[BaseModel]) -> None:
    by_pydantic = {name: field.description for name, field in section.model_fields.items() if field.description}
    assert descriptions(section) == by_pydantic


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_config_is_described(section: type[schema.Section]) -> None:
    assert set(descriptions(section)) == set(section.model_fields)
    assert all(descriptions(section).values())
