from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from recctl.arguments import (
    at_least,
    between,
    callbacks,
    check_fields,
    checked,
    flag,
    many,
    number,
    of_type,
    one_of,
    optional,
    overrides,
    path,
    scalar_problem,
    shown,
    text,
    validated,
    whole_number,
)
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
    assert repeat("a", np.int64(3)) == "aaa"
    assert repeat.__doc__ == "Repeat a text."
    assert Box(3).size == 3


@pytest.mark.parametrize(
    ("args", "kwargs", "problems"),
    [
        (("a", 0), {}, ["repeat: times=0: input should be greater than or equal to 1"]),
        (
            ("a",),
            {"times": 1.5},
            ["repeat: times=1.5: input should be a valid integer"],
        ),
        ((), {}, ["repeat: missing a required argument: 'text'"]),
        (("a",), {"tims": 1}, ["repeat: got an unexpected keyword argument 'tims'"]),
        (("a", 1, "b"), {}, ["repeat: too many positional arguments"]),
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


@pytest.mark.parametrize("value", ["3", True, 3.0, np.bool_(True), float("nan"), [3]])
def test_numbers_are_not_converted_from_other_types(value):
    with pytest.raises(ConfigError, match=r"^repeat: times=.*: input should be a valid integer"):
        repeat("a", value)


@pytest.mark.parametrize(
    ("annotation", "valid", "invalid"),
    [
        (int, [0, -3, np.int32(2)], [2.0, "2", True, None]),
        (float, [0, 2.5, np.float32(0.5)], ["2", True, None, float("inf")]),
        (bool, [True, np.bool_(False)], [0, 1.0, "no", None]),
        (int | None, [3, None], [False, "x"]),
        (Annotated[float | None, Field(ge=0)], [1, None], [True, []]),
        (str, [3, None, "x"], []),  # no number: left to other checks
    ],
)
def test_scalar_problem_of_annotations(annotation, valid, invalid):
    assert [scalar_problem(annotation, value) for value in valid] == [None] * len(valid)
    assert all(scalar_problem(annotation, value) for value in invalid)


class Anything:
    pass


CHECKS = [
    (at_least(1), [1, np.int64(7)], [0, -1, 1.0, "1", True, None, []], "must be a whole number of at least 1"),
    (number, [0, 2.5, np.float32(1)], ["1", None, True, float("nan"), 1j], "must be a number"),
    (between(0, 1), [0.5], [0, 1, float("nan"), "x"], "must be a number above 0 and below 1"),
    (flag, [True, np.bool_(False)], [0, 1, None, "no"], "must be True or False"),
    (text, ["x"], ["", None, 3, b"x"], "must be a text that is not empty"),
    (path, ["a/b", Path("c")], ["", None, 3, []], "must be a path"),
    (one_of("min", "max"), ["min"], ["mni", None, [], 3], "unknown choice"),
    (optional(at_least(1)), [None, 2], [0, "x"], "must be a whole number"),
    (of_type(Anything, "a thing"), [Anything()], [None, Anything, 3], "must be a thing"),
    (
        many(at_least(0), "[1, 2]"),
        [[], [1], (2,), range(3)],
        [3, None, "12", {1: 2}],
        r"must be a list, such as \[1, 2\]",
    ),
    (many(at_least(0), "[1]"), [], [[1, "x"]], r"\[1\]='x': must be a whole number"),
    (overrides, [["a=1"], ()], ["a=1", None, [3]], "must be"),
    (callbacks, [[], [print, lambda *_: None]], [None, print, ["x"], [int]], "must be a"),
]


@pytest.mark.parametrize(("check", "valid", "invalid", "message"), CHECKS)
def test_checks_name_the_argument_and_its_value(check, valid, invalid, message):
    for value in valid:
        checked_value = check("where", "name", value)
        assert list(value) == checked_value if isinstance(checked_value, list) else checked_value == value
    for value in invalid:
        with pytest.raises(ConfigError, match=rf"^where: name.*{message}"):
            check("where", "name", value)


def test_whole_number_limits():
    assert whole_number("", "n", -5) == -5
    with pytest.raises(ConfigError, match=r"^n=7: must be a whole number from 1 to 6$"):
        whole_number("", "n", 7, 1, 6)


@validated(k=at_least(1), names=many(text, "['a']"))
def rank(k=0, names=(), *rest, **options):
    """Rank."""
    return k, names, rest, options


def test_validated_functions_get_checked_values():
    assert rank(np.int64(3), ("a", "b"), 5, more=1) == (3, ["a", "b"], (5,), {"more": 1})
    assert type(rank(np.int64(3))[0]) is int
    assert rank() == (0, (), (), {})  # defaults are the function's own business
    assert (rank.__name__, rank.__doc__) == ("rank", "Rank.")
    with pytest.raises(ConfigError) as caught:
        rank(0, names="a")
    assert len(caught.value.problems) == 2
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'n'"):
        Counted()


class Counted:
    @validated(n=at_least(1))
    def __init__(self, n):
        self.n = n


def test_fields_of_dataclasses_are_checked_together():
    with pytest.raises(ConfigError) as caught:
        check_fields(Counted(1), n=at_least(5))
    assert caught.value.problems == ["Counted: n=1: must be a whole number of at least 5"]


def test_long_values_are_cut_off():
    assert shown("x" * 500).endswith("...")
    assert "\n" not in shown("a\nb" * 50)
    assert shown(3) == "3"
