import inspect
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field

from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, NotFittedError
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, Choices, Fitted, fitted, hyperparameter, validate


class Everything(Recommender):
    name = "everything"
    number: float = hyperparameter(1.0, gt=0, le=10, help="A number.", search=Between(0.1, 10, log=True))
    count: int = hyperparameter(3, ge=1, help="A count.", search=Between(1, 5))
    sizes: list[int] = hyperparameter([64, 32], min_length=1, help="Sizes.", search=Choices(([64], [32, 16])))
    kind: Literal["a", "b"] = hyperparameter("a", help="A kind.")
    flag: bool = hyperparameter(default=False, help="A flag.")
    limit: float | None = hyperparameter(None, help="A limit, or none.")
    lr: float = hyperparameter(0.1, help="A rate.")
    table: np.ndarray = fitted("(n_items, count)")


class Layered(Recommender):
    name = "layered"
    widths: list[Annotated[int, Field(ge=1)]] = hyperparameter([8], min_length=1, help="Widths.")
    shares: list[Annotated[float, Field(gt=0, le=1)]] | None = hyperparameter(None, help="Shares, or none.")
    ratio: Annotated[float, Field(lt=2)] = hyperparameter(1.0, gt=0, help="A ratio.")


class More(Everything):
    name = "more"
    extra: int = hyperparameter(0, help="One more.")


def test_declarations_are_collected_in_order_from_all_bases():
    assert list(Everything.parameters) == ["number", "count", "sizes", "kind", "flag", "limit", "lr"]
    assert list(More.parameters) == [*Everything.parameters, "extra"]
    assert list(More.fitted_values) == ["user_vocabulary", "item_vocabulary", "seen", "table"]
    assert "extra" not in Everything.parameters


def test_signature_lists_the_hyperparameters_of_the_class():
    for cls in (Everything, More):
        parameters = inspect.signature(cls).parameters
        assert {name: parameter.default for name, parameter in parameters.items()} == cls().hyperparameters()
        assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert inspect.signature(Everything).parameters["limit"].annotation == float | None
    assert inspect.getdoc(More.load).startswith("Load a model file")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"number": 2}, 2.0),
        ({"number": np.float32(0.5)}, 0.5),
        ({"count": np.int64(4)}, 4),
        ({"sizes": (8, 4)}, [8, 4]),
        ({"kind": "b"}, "b"),
        ({"flag": np.True_}, True),
        ({"limit": None}, None),
        ({"limit": 3}, 3.0),
    ],
)
def test_check_returns_values_in_the_declared_type(values, expected):
    made = getattr(Everything(**values), next(iter(values)))
    assert (made, type(made)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("number", 0, "number: 0 should be greater than 0"),
        ("number", 11.5, "number: 11.5 should be less than or equal to 10"),
        ("number", "2", "number: '2' should be a valid number"),
        ("number", True, "number: True should be a valid number"),
        ("number", float("inf"), "number: inf should be"),
        ("number", None, "number: None should be a valid number"),
        ("count", 2.0, "count: 2.0 should be a valid integer"),
        ("count", True, "count: True should be a valid integer"),
        ("sizes", [], "sizes: .* at least 1"),
        ("sizes", [8, 2.5], r"sizes: \[1\] 2.5 should be a valid integer"),
        ("sizes", 8, "sizes: 8 should be a valid list"),
        ("kind", "c", "kind: 'c' should be 'a' or 'b'"),
        ("flag", 1, "flag: 1 should be a valid boolean"),
        ("limit", float("nan"), "limit: nan should be a finite number"),
        ("learning_rate", 1, "learning_rate: unknown parameter; did you mean lr"),
        ("Number", 1, "Number: unknown parameter; did you mean number"),
    ],
)
def test_invalid_value_is_refused_with_value_and_expectation(name, value, problem):
    with pytest.raises(ConfigError, match=f"Everything: {problem}"):
        Everything(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("widths", [16, 0], r"widths: \[1\] 0 should be greater than or equal to 1"),
        ("widths", [-4], r"widths: \[0\] -4 should be greater than or equal to 1"),
        ("widths", np.array([8, -1]), r"widths: \[1\] -1 should be greater than or equal to 1"),
        ("shares", [0.5, 1.5], r"shares: \[1\] 1.5 should be less than or equal to 1"),
        ("shares", [float("nan")], r"shares: \[0\] nan should be a finite number"),
        ("ratio", 2.0, "ratio: 2.0 should be less than 2"),
    ],
)
def test_element_out_of_its_bounds_is_refused_by_name_and_position(name, value, problem):
    with pytest.raises(ConfigError, match=f"Layered: {problem}"):
        Layered(**{name: value})


def test_elements_within_their_bounds_are_accepted_from_numpy_too():
    assert Layered(widths=(np.int64(4), 2)).widths == [4, 2]
    assert Layered(widths=np.array([4, 2])).widths == [4, 2]
    assert Layered(shares=[1.0]).shares == [1.0]


def test_json_schema_holds_the_bounds_of_elements():
    assert Layered.parameters["widths"].json_schema()["items"] == {"type": "integer", "minimum": 1}
    assert Layered.parameters["widths"].json_schema()["minItems"] == 1
    assert Layered.parameters["ratio"].json_schema()["exclusiveMaximum"] == 2
    assert Layered.parameters["widths"].type_name() == "list[int]"
    assert Layered.parameters["widths"].element_bounds == ">= 1"


def test_validate_reports_problems_by_parameter():
    checked, problems = validate(Everything.parameters, {"number": -1, "count": 7, "nonsense": 1})
    assert checked["count"] == 7
    assert [name for name, _ in problems] == ["number", "nonsense"]


def test_defaults_are_not_shared():
    first, second = Everything(), Everything()
    first.sizes.append(1)
    assert second.sizes == Everything.parameters["sizes"].default == [64, 32]


def test_json_schema_and_type_name():
    parameters = Everything.parameters
    assert parameters["number"].json_schema() == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 10,
        "description": "A number.",
        "default": 1.0,
    }
    assert parameters["kind"].json_schema()["enum"] == ["a", "b"]
    assert [declared.type_name() for declared in parameters.values()] == [
        "float",
        "int",
        "list[int]",
        "'a' | 'b'",
        "bool",
        "float | None",
        "float",
    ]


def test_fitted_value_raises_until_it_is_set():
    model = Everything()
    with pytest.raises(NotFittedError, match=r"Everything is not fitted yet: call fit\(\) or load\(\) first"):
        model.table  # noqa: B018
    model.table = np.zeros((2, 3))
    assert model.table.shape == (2, 3)


def test_model_without_required_methods_raises_unsupported_error():
    from recctl.errors import UnsupportedError
    from tests.models.suite import toy

    with pytest.raises(UnsupportedError, match="Everything has no _fit"):
        Everything().fit(toy())


@pytest.mark.parametrize(
    ("annotation", "dtype"),
    [
        (NDArray[np.float32], np.dtype(np.float32)),
        (NDArray[np.int64], np.dtype(np.int64)),
        (NDArray[np.bool_], np.dtype(bool)),
        (np.ndarray[Any, np.dtype[np.float64]], np.dtype(np.float64)),
        (NDArray[Any], None),
        (np.ndarray, None),
    ],
)
def test_array_annotation_declares_a_dtype(annotation, dtype):
    model = type("Declared", (Recommender,), {"__annotations__": {"weights": annotation}, "weights": fitted("(n,)")})
    declared = model.fitted_values["weights"]
    assert declared.is_array
    assert declared.dtype is dtype or declared.dtype == dtype


@pytest.mark.parametrize("annotation", [Vocabulary, InteractionMatrix, int, float, bool, str])
def test_other_supported_annotation_is_not_an_array(annotation):
    declared = Fitted("", annotation)
    declared.require_supported("Model.value")
    assert not declared.is_array
    assert declared.dtype is None


@pytest.mark.parametrize("annotation", [list, dict[str, int], NDArray[np.str_], float | None, np.float32, Any])
def test_unsupported_annotation_is_refused_at_class_definition(annotation):
    members = {"__annotations__": {"weights": annotation}, "weights": fitted("(n,)")}
    with pytest.raises(TypeError, match=r"Declared\.weights: fitted\(\) does not support the annotation"):
        type("Declared", (Recommender,), members)
