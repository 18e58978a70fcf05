"""Tags that were not there when the vocabulary was fitted: what is done with them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from instag_hf.embeddings import Embedder, embed
from instag_hf.errors import InputError
from instag_hf.normalizer.artefact import Artefact
from instag_hf.normalizer.sense import judge
from instag_hf.normalizer.spelling import Spelled, differ, speller, tidy

BLOCK = 1000  # tags whose distances to the whole vocabulary are held at once
FATES = ("known", "filtered", "spelling", "meaning", "kept", "dropped")


class Resolver:
    """From a raw tag to its canonical one and to how it was found; each tag is looked up once.

    A tag that the fit saw is what the fit made of it, and a canonical one, which an edit may have named, is itself.
    Another is that of a tag which it only spells differently, else the nearest canonical tag within `max_distance` from
    which nothing keeps it apart, else it is kept or dropped.
    """

    def __init__(self, artefact: Artefact, embedder: str | Embedder | None) -> None:
        """Start with the tags of the fit; what the others need is made when the first of them comes."""
        self._artefact = artefact
        self._settings = artefact.settings
        self._embedder = embedder
        self.found: dict[str, tuple[str | None, str]] = {tag: (tag, "known") for tag in artefact.vocabulary}
        self.found |= {
            entry.tag: (entry.canonical, "filtered" if entry.canonical is None else "known")
            for entry in artefact.entries
        }
        self._by_key: dict[str, list[tuple[Spelled, str]]] | None = None
        self._vectors: np.ndarray | None = None

    def look_up(self, tags: Iterable[str]) -> Mapping[str, tuple[str | None, str]]:
        """Resolve tags, new ones together, and return all that is known.

        Raises:
            InputError: A tag needs the function that embedded those of the fit, which is not at hand.
        """
        new = [tag for tag in dict.fromkeys(tags) if tag not in self.found]
        if new:
            self.found.update(self._by_spelling(new))
            left = [tag for tag in new if tag not in self.found]
            if left and "meaning" in self._settings.steps:
                for start in range(0, len(left), BLOCK):
                    self.found.update(self._by_meaning(left[start : start + BLOCK]))
            for tag in left:
                self.found.setdefault(tag, self._policy(tag))
        return self.found

    def _policy(self, tag: str) -> tuple[str | None, str]:
        if self._settings.unseen == "drop" or not tag.strip():
            return None, "dropped"
        return tidy(tag) if "spelling" in self._settings.steps else tag, "kept"

    def _by_spelling(self, tags: list[str]) -> dict[str, tuple[str | None, str]]:
        if "spelling" not in self._settings.steps:
            return {}
        spell = speller(self._settings.stemmer)
        if self._by_key is None:
            self._by_key = defaultdict(list)
            for entry in self._artefact.entries:
                if entry.canonical is not None:
                    spelled = spell(entry.tag)
                    self._by_key[spelled.key].append((spelled, entry.canonical))
        found: dict[str, tuple[str | None, str]] = {}
        for tag in tags:
            spelled = spell(tag)
            for own, canonical in self._by_key.get(spelled.key, ()):
                if not differ(own, spelled):
                    found[tag] = canonical, "spelling"
                    break
        return found

    def _by_meaning(self, tags: list[str]) -> dict[str, tuple[str | None, str]]:
        if self._embedder is None:
            raise InputError(
                f"normalizer: expected embedder=, for it was fitted with the function {self._settings.weights}, which "
                f"is not saved, and the fit did not see the tag {tags[0][:80]!r}. "
                "Give it to TagNormalizer.from_pretrained."
            )
        names = list(self._artefact.vocabulary)
        if self._vectors is None:
            self._vectors = embed(names, self._embedder)
        distances = 1 - embed(tags, self._embedder) @ self._vectors.T
        limit = self._settings.max_distance or 0.0
        near = [np.flatnonzero(row <= limit) for row in distances]
        pairs = [(tag, names[at]) for tag, places in zip(tags, near, strict=True) for at in places]
        verdict = judge(self._embedder, limit, pairs)
        found: dict[str, tuple[str | None, str]] = {}
        for tag, row, places in zip(tags, distances, near, strict=True):
            for at in sorted(places.tolist(), key=lambda at: (row[at], at)):
                if not (self._settings.guards and verdict(tag, names[at])):
                    found[tag] = names[at], "meaning"
                    break
        return found
