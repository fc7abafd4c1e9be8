"""Scripts of the shells, and the answers to them.

The variables by which scripts ask, and the form of the answers, are those of Typer, so that scripts that
`recctl --install-completion` has installed before this package existed get its answers, too.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from recctl.cli.completion.candidates import Candidate, Completer

# What may follow without a space: the value of a key, or a file of a folder.
_OPEN_ENDS = ("=", "/")
# Where bash splits words, besides spaces: `ndcg@10` and `data.format=csv` are three words each.
_BASH_BREAKS = re.compile(r"[=:@]+")
_SPECIAL_IN_BASH = re.compile(r"[\s\\'\"`$&|;<>()\[\]{}*?!#]")

# A loop, because an array of `$(...)` would replace candidates such as `a*` by the names of files, and bash on macOS,
# 3.2, has no mapfile.
_BASH = """\
_recctl_completion() {
    local IFS=$'\\n' candidate
    COMPREPLY=()
    while read -r candidate; do
        COMPREPLY+=( "$candidate" )
    done < <( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        _RECCTL_COMPLETE=complete_bash "$1" 2> /dev/null )
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
# bash before 4.4, as on macOS, sorts the candidates.
complete -o default -o nosort -F _recctl_completion recctl 2> /dev/null ||
    complete -o default -F _recctl_completion recctl
"""

_ZSH = """\
#compdef recctl

_recctl_completion() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _RECCTL_COMPLETE=complete_zsh "${words[1]}" 2> /dev/null)"
}
if [[ ${funcstack[1]} == _recctl ]]; then
    _recctl_completion
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _recctl_completion recctl
fi
"""

_FISH = """\
function __recctl_complete
    set -l found (env _TYPER_COMPLETE_ARGS=(commandline -cp) _TYPER_COMPLETE_FISH_ACTION=get-args \\
        _RECCTL_COMPLETE=complete_fish recctl 2> /dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command recctl --no-files --keep-order --arguments '(__recctl_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


# ---- answers


def answer(request: str) -> str | None:
    """Return what a script of a shell asks for.

    Args:
        request: The value of the variable, e.g. `complete_bash`, or `source_bash` for the script.

    Returns:
        The text for stdout; None if the shell is not one of ours.
    """
    action, _, shell = request.partition("_")
    if shell not in _SCRIPTS:
        return None
    if action == "source":
        return _SCRIPTS[shell]
    if shell == "bash":
        return _answer_bash(os.environ.get("COMP_WORDS", ""), int(os.environ.get("COMP_CWORD", "0")))
    words, incomplete = _words_before_cursor(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    candidates = Completer().complete(words, incomplete)
    if shell == "zsh":
        return _zsh_code(candidates)
    if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        # Typer's script asks by the exit code whether there is anything but files.
        sys.exit(0 if candidates else 1)
    return "".join(f"{_with_help(candidate, chr(9))}\n" for candidate in candidates)


def _answer_bash(line: str, position: int) -> str:
    # Our script, as Typer's, separates the words by newlines.
    words = line.split("\n") if "\n" in line else _split(line)
    words = [*words, ""][: position + 1]
    *before, incomplete = _joined(words)
    candidates = Completer().complete([_unquoted(word) for word in before[1:]], _unquoted(incomplete))
    n_kept = _length_kept(incomplete, words[-1])
    # Within quotes, bash inserts the text as it is.
    is_quoted = incomplete[:1] in ("'", '"')
    texts = [candidate.text if is_quoted else _escaped(candidate.text) for candidate in candidates]
    return "".join(f"{text[n_kept:]}\n" for text in texts)


def _length_kept(incomplete: str, word: str) -> int:
    """How much of an incomplete word bash keeps, when it replaces the last of the words that it was split into."""
    n_kept = len(incomplete)
    if not _BASH_BREAKS.fullmatch(word):
        n_kept -= len(word)
    # Readline replaces an @ together with what follows it.
    return n_kept - 1 if incomplete[:n_kept].endswith("@") else n_kept


def _joined(words: list[str]) -> list[str]:
    """The words as they are separated by spaces: without those where bash splits at `=`, `:` and `@`."""
    joined: list[str] = []
    is_open = False
    for word in words:
        is_break = _BASH_BREAKS.fullmatch(word) is not None
        if joined and word and (is_break or is_open):
            joined[-1] += word
        else:
            joined.append(word)
        is_open = is_break
    return joined


def _words_before_cursor(line: str) -> tuple[list[str], str]:
    """The words after `recctl`, and the incomplete one, of a line up to the cursor."""
    words = _split(line)[1:]
    if not words or line.endswith(" "):
        return words, ""
    return words[:-1], words[-1]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is still open
        return line.split()


def _unquoted(word: str) -> str:
    """A word of bash as the command gets it."""
    try:
        return "".join(shlex.split(word))
    except ValueError:  # a quote that is still open
        return word.strip("\"'")


def _escaped(text: str) -> str:
    """A text as bash reads it, with a backslash before each blank and other special character."""
    return _SPECIAL_IN_BASH.sub(r"\\\g<0>", text)


def _zsh_code(candidates: list[Candidate]) -> str:
    """Code that offers the candidates in their order; files if there are none."""
    if not candidates:
        return "_files"
    groups: dict[bool, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.text.endswith(_OPEN_ENDS), []).append(candidate)
    code = ["local -a recctl_texts recctl_lines"]
    for is_open, members in groups.items():
        code.append(f"recctl_texts=({_quoted(candidate.text for candidate in members)})")
        code.append(f"recctl_lines=({_quoted(_with_help(candidate, '  -- ') for candidate in members)})")
        suffix = "-S ''" if is_open else ""
        code.append(f"compadd -l -o nosort -V recctl-{int(is_open)} {suffix} -d recctl_lines -a recctl_texts")
    return "; ".join(code)


def _quoted(texts: Iterable[str]) -> str:
    return " ".join(shlex.quote(text) for text in texts)


def _with_help(candidate: Candidate, separator: str) -> str:
    return f"{candidate.text}{separator}{candidate.help}" if candidate.help else candidate.text


# ---- installation


def install_or_show(arguments: list[str]) -> str | None:
    """Carry out `--install-completion [SHELL]` or `--show-completion [SHELL]`.

    Returns:
        The text for stdout; None if the shell is not one of ours.
    """
    shell = arguments[1] if len(arguments) > 1 else _current_shell()
    if shell not in _SCRIPTS:
        return None
    if arguments[0] == "--show-completion":
        return _SCRIPTS[shell]
    return f"{shell} completion installed in {_install(shell)}; restart the shell to use it\n"


def _current_shell() -> str | None:
    """The shell that recctl was started from."""
    try:
        # Typer depends on it. It has no types.
        return str(import_module("shellingham").detect_shell()[0])
    except Exception:  # not started from a shell, or from an unknown one
        return Path(os.environ.get("SHELL", "")).name or None


def _install(shell: str) -> Path:
    home = Path.home()
    if shell == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return _write(config / "fish" / "completions" / "recctl.fish", _FISH)
    if shell == "zsh":
        path = _write(home / ".zfunc" / "_recctl", _ZSH)
        start = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
    else:
        path = _write(home / ".bash_completions" / "recctl.sh", _BASH)
        start = home / ".bashrc"
    _add_line(start, f"source {shlex.quote(str(path))}")
    return path


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _add_line(file: Path, line: str) -> None:
    """Append a line to a file of the user, whose content stays as it is, whatever its encoding."""
    content = file.read_bytes() if file.exists() else b""
    added = os.fsencode(line)
    if added not in content.splitlines():
        separator = b"" if not content or content.endswith(b"\n") else b"\n"
        with file.open("ab") as opened:
            opened.write(separator + added + b"\n")
