"""Content never shows itself; errors form one documented tree."""

import inspect
import re

import lanai.errors as errors
from lanai.content import Content, TokenIds
from lanai.errors import LanaiError, Rejection, TrustError


def test_content_is_text_that_prints_its_length() -> None:
    """A Content behaves as its text and its repr shows the length alone."""
    text = Content("a secret")
    assert text == "a secret"
    assert repr(text) == "<content: 8 characters>"
    assert "secret" not in repr({"message": [text]})


def test_token_ids_print_their_number() -> None:
    """Token ids are content too."""
    ids = TokenIds(range(100, 103))
    assert ids[1] == 101
    assert repr(ids) == "<content: 3 tokens>"


def test_every_error_stands_in_the_tree_of_the_docstring() -> None:
    """The drawing on top of the module names each error class, under its real parent."""
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^( {4}[│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1])
            while stack and stack[-1][0] >= depth:
                stack.pop()
            drawn[match[2]] = stack[-1][1] if stack else "Exception"
            stack.append((depth, match[2]))
    real = {
        name: cls.__bases__[0].__name__
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, LanaiError)
    }
    assert drawn == real


def test_a_trust_error_ends_the_command_with_ten() -> None:
    """Verification failures have the exit code of their own and carry a closed reason."""
    error = TrustError("refused", reason=Rejection.SIGNATURE)
    assert error.exit_code == 10
    assert error.reason == "signature"
    assert error.code == "TrustError"
