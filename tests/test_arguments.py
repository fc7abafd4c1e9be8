from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from recctl.arguments import checked
from recctl.errors import ConfigError


@checked
def repeat(text: str, times: Annotated[int, Field(ge=1)] = 2, *, between: str = "") -> str:
    """Repeat a text."""
    return between.join([text] * times)


class Box:
    @checked
    def __init__(self, size: int) -> None:
        self.size = size


def test_valid_arguments_are_passed_on():
    assert repeat("a", 3, between="-") == "a-a-a"
    assert repeat("a", np.int64(3)) == repeat("a", "3") == "aaa"
    assert repeat.__doc__ == "Repeat a text."
    assert Box(3).size == 3


@pytest.mark.parametrize(
    ("args", "kwargs", "problems"),
    [
        (("a", 0), {}, ["repeat: times=0: input should be greater than or equal to 1"]),
        (
            ("a",),
            {"times": 1.5},
            ["repeat: times=1.5: input should be a valid integer, got a number with a fractional"],
        ),
        ((), {}, ["repeat: text: missing required argument"]),
        (("a",), {"tims": 1}, ["repeat: tims: unexpected keyword argument"]),
        (("a", 1, "b"), {}, ["repeat: between: unexpected positional argument"]),
        ((["a\nb"] * 50,), {"times": -1}, ["repeat: text=['a\\\\nb', ", "repeat: times=-1: input should be greater"]),
    ],
)
def test_all_invalid_arguments_are_named(args, kwargs, problems):
    with pytest.raises(ConfigError) as caught:
        repeat(*args, **kwargs)
    assert len(caught.value.problems) == len(problems)
    for problem, expected in zip(caught.value.problems, problems, strict=True):
        assert problem.startswith(expected.replace("\\\\", "\\"))
        assert "\n" not in problem


def test_constructor_is_named_by_its_class():
    with pytest.raises(ConfigError, match=r"^Box: size='big': input should be a valid integer"):
        Box("big")
