"""The errors recctl raises on purpose, each with the exit code the command line ends with."""


class RecctlError(Exception):
    """Something went wrong that a user can act on.

    The message names the place, the value and the way out; the command line prints it without a traceback.
    """

    exit_code = 1


class ConfigError(RecctlError):
    """A config, an option or a hyperparameter is not valid. Holds every problem found, not only the first."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class DataError(RecctlError):
    """Interactions can't be fetched, read, or used as asked."""

    exit_code = 3


class ArtifactError(RecctlError):
    """A run or a model file is missing, damaged, of a foreign format, or refused for safety."""

    exit_code = 4


class TrainingError(RecctlError):
    """Training failed, or was refused before it started (diverged, would not fit in memory)."""

    exit_code = 5


class AssertionFailedError(RecctlError):
    """A condition the user asked to be checked does not hold."""

    exit_code = 6


class UnsupportedError(RecctlError):
    """A model was asked for something it has no notion of."""

    exit_code = 2


class NotFittedError(RecctlError):
    """A model was asked for results before it was fitted."""


class MissingExtraError(RecctlError):
    """A feature needs a package that is installed only with one of recctl's extras."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra package: pip install 'recctl[{extra}]'")
