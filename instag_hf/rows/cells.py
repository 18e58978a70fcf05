"""A stranger's text in, a cell that no spreadsheet takes for a formula out, and back."""

import re

# A spreadsheet takes a cell for a formula by its first character. Where it takes a semicolon, a tab or a line break for
# the end of a cell, that is the one after. The guard is an apostrophe, one more where the text has some already.
_GUARDED = re.compile(r"(\A|[;\t\r\n])(\s*+)('*+)(?=[=+\-@＝＋－＠])")  # noqa: RUF001 - wide forms count as formulas too


def guard(text: str) -> str:
    """Make text that no spreadsheet takes for a formula, by an apostrophe where one would begin.

    Example:
        >>> guard("=1+1"), unguard(guard("=1+1"))
        ("'=1+1", '=1+1')
    """
    return _GUARDED.sub(r"\1\2\3'", text)


def unguard(text: str) -> str:
    """Take off what `guard` put on; other text stays as it is."""
    return _GUARDED.sub(lambda found: found[1] + found[2] + found[3][1:], text)
