"""URLs of data: environment variables in them, and what of them is never shown or stored.

A config holds a template such as `${DATABASE_URL}` or `s3://${BUCKET}/events/*.parquet`. Its variables are replaced at
the moment of opening, by `expand`. Run files, logs, messages and reports hold the template as `redact` returns it:
without user names, passwords and signatures. `hide` removes what `expand` has inserted from the texts of others, such
as the messages of database drivers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote, urlsplit

from recctl.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ANY_BRACES = re.compile(r"\$\{([^}]*)\}?")
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_IS_URL = re.compile(rf"{_SCHEME}|\$\{{")
# A variable may hold the first part of a URL; what follows can have secrets of its own.
_START = rf"{_SCHEME}|\$\{{\w+\}}(?:://)?"
# In any text. Quotes, brackets of YAML and JSON, and white space end a URL; `${NAME}` has braces of its own.
_URL_IN_TEXT = re.compile(rf"({_START})((?:\$\{{\w+\}}|[^\s'\"<>`{{}}])*)")
# The second form is a password with characters that should be written as %2F and the like.
_USER_INFO = re.compile(r"^([^/?#]*)@|^([^/?#:@\[]+:(?!(?:\d*|\$\{\w+\})(?:[/?#]|$)).*)@")
# A text that is a URL as a whole may have quotes and brackets in its password.
_WHOLE_URL = re.compile(rf"({_START})(\S*)")
_PARAMETER = re.compile(r"([?&#;])([^=&#;?\s]+)=([^&#;\s]*)")
# Whole words in the names of parameters, however they are written: X-Amz-Signature, AWSAccessKeyId, api_key, sig.
_SECRET_PARAMETER = re.compile(
    r"sign|sig$|token|pass|pwd|session|jwt|hmac|private|secret|credential|auth|api-?_?key|access-?_?key|keyid|key-pair|policy|user|^key$|^code$",
    re.IGNORECASE,
)
# There, what stands before the @ is the name of a container.
_SCHEMES_OF_CONTAINERS = ("abfs://", "abfss://", "wasb://", "wasbs://")
HIDDEN = "***"
# Shorter values are replaced only as whole words: they could be parts of others.
_MIN_LENGTH = 8

# What `expand` has inserted, and what is shown in its place.
_inserted: dict[str, str] = {}
# Redacted templates, and what they were: other parts of a command read the config that a run has stored.
_originals: dict[str, str] = {}


def is_url(source: object) -> bool:
    """Whether a source is a URL, or begins with a variable, which only URLs may have."""
    return isinstance(source, str) and _IS_URL.match(source) is not None


def scheme(url: str) -> str:
    """The scheme in lower case, such as `s3`; empty if the URL begins with a variable."""
    return url.partition("://")[0].lower() if re.match(_SCHEME, url) else ""


def template_problem(template: str) -> str | None:
    """What is wrong with the variables of a template; None if all of them are set."""
    for name in _ANY_BRACES.findall(template):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            return f"${{{name}}} is no environment variable; write it as ${{NAME}}"
    missing = [name for name in dict.fromkeys(_VARIABLE.findall(template)) if name not in os.environ]
    if missing:
        exports = "; ".join(f"export {name}=..." for name in missing)
        return f"the environment variable {', '.join(missing)} is not set; set it: {exports}"
    return None


def expand(template: str, key: str) -> str:
    """Replace the variables of a URL by their values, which `hide` removes from texts from now on.

    Args:
        template: The URL as the config has it.
        key: The key of the config, for messages.

    Raises:
        ConfigError: A variable is not set, or the URL lacks what was not stored of it.
    """
    template = _originals.get(template, template)
    problem = template_problem(template)
    if problem:
        raise ConfigError(f"{key}: {problem}")
    url = _VARIABLE.sub(lambda match: os.environ[match[1]], template)
    if re.match(_SCHEME, url) is None:
        raise ConfigError(
            f"{key}: {redact(template)} holds no URL, such as s3://bucket/events; variables are for URLs only"
        )
    if HIDDEN in url:
        raise ConfigError(
            f"{key}: {redact(template)}: the user name, password or signature of this URL was not stored; give the URL "
            f"again, best with a variable: --set '{key}=${{NAME}}'"
        )
    for name in _VARIABLE.findall(template):
        _remember(os.environ[name], f"${{{name}}}")
    for secret in _secrets(url):
        _remember(secret, HIDDEN)
    return url


def redact(text: str) -> str:
    """Replace user names, passwords and signatures of all URLs in a text; variables `${NAME}` stay."""
    pattern = _WHOLE_URL if _WHOLE_URL.fullmatch(text) else _URL_IN_TEXT
    redacted = pattern.sub(_redact_match, text)
    if redacted != text and is_url(text):
        # The newest: a URL with a new signature replaces the one whose signature has expired.
        _originals[redacted] = text
    return redacted


def hide(text: str) -> str:
    """Replace the values that `expand` has inserted in a text, and redact its URLs."""
    for value, shown in sorted(_inserted.items(), key=lambda entry: -len(entry[0])):
        if value not in text:
            continue
        if len(value) >= _MIN_LENGTH:
            text = text.replace(value, shown)
        else:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", lambda _, shown=shown: shown, text)  # type: ignore[misc]
    return redact(text)


def redact_values(values: object) -> object:
    """Redact every text in nested dicts and lists."""
    return _map_texts(values, redact)


def hide_values(values: object) -> object:
    """Hide what `expand` has inserted in every text of nested dicts and lists."""
    return _map_texts(values, hide)


def file_name(template: str) -> str:
    """The last part of a URL's path, without what variables hold; it is safe as the name of a file."""
    path = unquote(urlsplit(_VARIABLE.sub("", redact(template))).path)
    # Slashes and backslashes can be written as %2F and %5C.
    name = re.split(r"[/\\]", path.rstrip("/"))[-1]
    return "" if name in (".", "..") else name


def _map_texts(values: object, change: Callable[[str], str]) -> object:
    if isinstance(values, str):
        return change(values)
    if isinstance(values, Mapping):
        return {key: _map_texts(value, change) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_map_texts(value, change) for value in values]
    return values


def _remember(value: str, shown: str) -> None:
    for form in (value, unquote(value), quote(value, safe="")):
        if form:
            _inserted.setdefault(form, shown)


def _redact_match(match: re.Match[str]) -> str:
    start, rest = match.groups()
    if start.lower() not in _SCHEMES_OF_CONTAINERS:
        rest = _redact_user_info(rest)
    return start + _PARAMETER.sub(_redact_parameter, rest)


def _redact_user_info(rest: str) -> str:
    found = _USER_INFO.match(rest)
    if found is None:
        return rest
    user, colon, password = (found[1] or found[2] or "").partition(":")
    shown = _redact_literal(user) + colon + (_redact_literal(password) if colon else "")
    return f"{shown}@{rest[found.end() :]}"


def _redact_parameter(match: re.Match[str]) -> str:
    separator, name, value = match.groups()
    if not _SECRET_PARAMETER.search(unquote(name)):
        return match[0]
    return f"{separator}{name}={_redact_literal(value)}"


def _redact_literal(value: str) -> str:
    """Keep a value that consists of variables alone."""
    return value if not _VARIABLE.sub("", value) else HIDDEN


def _secrets(url: str) -> list[str]:
    """User name, password and signatures of a URL."""
    start, _, rest = url.partition("://")
    found = [value for _, name, value in _PARAMETER.findall(rest) if _SECRET_PARAMETER.search(unquote(name))]
    user_info = _USER_INFO.match(rest)
    if user_info is not None and f"{start.lower()}://" not in _SCHEMES_OF_CONTAINERS:
        user, _, password = (user_info[1] or user_info[2] or "").partition(":")
        found += [password, user]
    return [value for value in found if value]
