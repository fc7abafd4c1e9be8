"""Exceptions that recctl raises on purpose, each with the exit code of the command line, and its warnings."""


class RecctlWarning(UserWarning):
    """Something that a user should know and that is no error; the command line prints it as a note.

    To hide these, use `warnings.filterwarnings("ignore", category=RecctlWarning)`.
    """


class RecctlError(Exception):
    """Base class of errors that a user can fix.

    The message gives the location, the value and a suggested fix; the command line prints it without a traceback.

    Examples:
        ```python
        from recctl import RecctlError, make_model

        try:
            make_model("eaze")
        except RecctlError as error:
            print(error)  # names the model that was probably meant
        ```
    """

    exit_code = 1


class ConfigError(RecctlError):
    """A config, an option or a hyperparameter is invalid.

    Attributes:
        problems: Every problem found, not only the first.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class DataError(RecctlError):
    """Interactions can't be downloaded, read or used as requested."""

    exit_code = 3


class ArtifactError(RecctlError):
    """A run or a model file is missing, damaged, of an unknown format, or refused for safety."""

    exit_code = 4


class TrainingError(RecctlError):
    """Training failed (it diverged, for example) or was refused because it would not fit into memory."""

    exit_code = 5


class AssertionFailedError(RecctlError):
    """A condition that the user set, such as `--assert` or `min_recall`, does not hold."""

    exit_code = 6


class UnsupportedError(RecctlError):
    """The model does not support the requested operation."""

    exit_code = 2


class NotFittedError(RecctlError):
    """The model must be fitted first."""
