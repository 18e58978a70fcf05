"""Vectors in, cluster labels out: DBSCAN on cosine distance, with the labels of scikit-learn's.

For tags, scikit-learn's holds all distances at once or one list of neighbours for each; here the product is taken in
blocks and only the pairs that are near enough are kept.
"""

from collections.abc import Iterator

import numpy as np

from instag_hf.normalizer.graphs import components

BLOCK = 2048
DOUBTFUL = 1e-5  # a product of two float32 unit vectors is off by less


def near_pairs(vectors: np.ndarray, max_distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of unit vectors whose cosine distance is at most `max_distance`.

    What float32 leaves in doubt is computed again in float64, so that a pair on the boundary does not depend on the
    block it falls into.

    Args:
        vectors: Shape (n, dimensions), each of length 1.
        max_distance: Cosine distance, 0 to 2.

    Returns:
        Pairs, shape (pairs, 2), each with the smaller place first, in order; and their distances, shape (pairs,).
    """
    vectors = np.ascontiguousarray(vectors)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    single = exact.astype(np.float32)
    found = [np.zeros((0, 2), np.int64), *_candidates(single, 1 - max_distance - DOUBTFUL)]
    pairs = np.concatenate(found)
    distances = np.concatenate(
        [
            np.zeros(0),
            *(
                1 - np.einsum("ij,ij->i", exact[some[:, 0]], exact[some[:, 1]])
                for some in np.array_split(pairs, len(pairs) // 100_000 + 1)
            ),
        ]
    )
    distances = np.clip(distances, 0, 2)
    kept = distances <= max_distance
    return pairs[kept], distances[kept]


def _candidates(vectors: np.ndarray, min_cosine: float) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), BLOCK):
        rows = vectors[start : start + BLOCK]
        for other in range(start, len(vectors), BLOCK):
            i, j = np.nonzero(rows @ vectors[other : other + BLOCK].T >= min_cosine)
            pairs = np.column_stack([i + start, j + other])
            yield pairs[pairs[:, 0] < pairs[:, 1]]


def dbscan(count: int, pairs: np.ndarray, min_samples: int = 2) -> np.ndarray:
    """Label points by density (DBSCAN) from their near pairs; -1 is noise.

    A point with `min_samples` near points, itself among them, is a core point; core points that are near each other are
    a cluster; another point joins the first cluster that has a core point near it. With `min_samples` up to 2 the
    clusters are the connected components.

    Args:
        count: The number of points.
        pairs: Shape (pairs, 2), each pair once.
        min_samples: How dense a cluster must be.

    Returns:
        Shape (count,): the labels that scikit-learn's DBSCAN gives.

    Raises:
        MissingError: scipy is not installed.
    """
    degree = np.bincount(pairs.ravel(), minlength=count) + 1
    core = degree >= min_samples
    both = pairs[core[pairs].all(axis=1)]
    labels = np.full(count, -1, np.int64)
    if not core.any():
        return labels
    found = components(count, both[:, 0], both[:, 1])[core]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    labels[core] = np.argsort(np.argsort(first))[inverse]
    border = pairs[core[pairs].sum(axis=1) == 1]
    at_core = np.where(core[border[:, 0]], border[:, 0], border[:, 1])
    at_border = border.sum(axis=1) - at_core
    joined = np.full(count, count, np.int64)
    np.minimum.at(joined, at_border, labels[at_core])
    labels[at_border] = joined[at_border]
    return labels
