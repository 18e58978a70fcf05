"""Groups of tags that grow by joining, unless two of their members must stay apart."""

from collections.abc import Callable, Mapping

Verdict = Callable[[str, str], str]


def no_verdict(one: str, other: str) -> str:
    """Let any two tags be one."""
    return ""


def rank(tag: str, counts: Mapping[str, int]) -> tuple[int, int, str]:
    """Order tags by who gives a group its name: the more frequent, then the shorter, then the first alphabetically."""
    return -counts[tag], len(tag), tag


class Groups:
    """Disjoint groups of tags; a join that would bring two together that must stay apart is refused.

    Pairs are not enough: two tags that must stay apart may each be near a third.
    """

    def __init__(self, verdict: Verdict = no_verdict) -> None:
        """Start with every tag on its own.

        Args:
            verdict: Why two tags must stay apart, `""` if they need not.
        """
        self.verdict = verdict
        self._of: dict[str, list[str]] = {}

    def of(self, tag: str) -> list[str]:
        """Return the group of a tag."""
        return self._of.get(tag, [tag])

    def join(self, one: str, other: str) -> str:
        """Make one group of two, or say why not.

        Returns:
            `""` when they are one now, else the reason; if other members than these two are in the way, it names them.
        """
        left, right = self.of(one), self.of(other)
        if left is right or one == other:
            return ""
        for a in left if self.verdict is not no_verdict else ():
            for b in right:
                if why := self.verdict(a, b):
                    return why if {a, b} == {one, other} else f"{why}: {a} / {b}"
        larger, smaller = (left, right) if len(left) >= len(right) else (right, left)
        larger.extend(smaller)
        self._of.update(dict.fromkeys(larger if len(larger) == 2 else smaller, larger))
        return ""
