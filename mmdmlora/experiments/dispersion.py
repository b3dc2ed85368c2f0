"""How far the branches of an adapter lie apart: Table 1's figure and direct measures."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmdmlora._requirements import extra

# At rank 8 the fewest branches of Table 1 give 32 points, of which a t-SNE of
# scikit-learn's usual perplexity of 30 makes one heap.
PERPLEXITY = 5.0
REPEATS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dispersion:
    """The dispersion of an adapter's branches.

    Attributes:
        measures: For each of 'down' and 'up', of the branches and of the null
            ('null ...'): 't-SNE range (down)', 'distance (down)', 'cosine (down)'; the
            same of the delta-W of pairs: 'distance (delta-W)', 'cosine (delta-W)'.
            't-SNE range' is the mean of down and up, 't-SNE range deviation' its
            deviation over seeds of t-SNE.
        coordinates: ``[x, y, branch]`` of each column of each up branch.
    """

    measures: dict[str, float]
    coordinates: list[list[float]]


def dispersion(
    down: ArrayLike,
    up: ArrayLike,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
    repeats: int = REPEATS,
) -> Dispersion:
    r"""Measure how far the branches of one adapter lie apart.

    **The paper's figure.** "t-SNE dimensionality reduction on the weight parameters of
    the W_q of the last layer in the LoRA module ... the range of the weights ... the sum
    of two dimensions". The text doesn't say what a point is. This project's reading: each
    of the r rows of each A_i is a point in the space of the layer's inputs, each of the r
    columns of each B_j one in that of its outputs. The two are embedded apart, as they
    have no space in common; the figure is the mean of their two ranges.

    The range depends on the perplexity and on the number of points, which grows with n,
    whatever the weights are. It says something only beside the null.

    **Direct measures.** The mean Euclidean distance and the mean cosine of all pairs of
    branches, as vectors, and of all pairs of the :math:`n^2` products
    :math:`\Delta_{ij} = B_j A_i`. These are never built:

    .. math::
        \langle \Delta_{ij}, \Delta_{kl} \rangle
        = \operatorname{tr}\big((B_j^\top B_l)\,(A_k A_i^\top)\big)

    needs products of r x r only.

    **The null.** Branches around the mean of the measured ones, each as far from it as
    the measured one, but in a direction drawn at random: what n independent
    initial values, moved by a shared vector and isotropic noise, look like. By its
    making, its branches lie about as far apart as the measured ones (clusters show as a
    smaller distance of the measured ones), so it is there for the t-SNE range and the
    products. Its measures are means over ``repeats`` draws.

    Args:
        down (ArrayLike): The down branches, ``(n, r, in)``: those of the q adapter of
            the last layer for Table 1.
        up (ArrayLike): The up branches, ``(n, out, r)``.
        perplexity (float): Of t-SNE: the number of neighbours that a point looks to. The
            same for every n that is compared. Defaults to 5.
        seed (int): The seed of t-SNE and of the null. Defaults to 0.
        repeats (int): The number of t-SNE runs and of null draws. Defaults to 5.

    Raises:
        ValueError: If there are fewer than two branches, a weight isn't finite, or there
            are no more points than the perplexity.
        MissingExtraError: If scikit-learn isn't installed.
    """
    sides = dict(
        down=_branches(down, 'down'),
        up=_branches(up, 'up').swapaxes(1, 2),
    )
    generator = np.random.default_rng(seed)
    seeds = range(seed, seed + repeats)
    nulls = [
        {side: null_branches(b, generator) for side, b in sides.items()} for _ in seeds
    ]
    direct = [_direct(null) for null in nulls]
    measures = _direct(sides)
    measures |= {f'null {name}': fmean(m[name] for m in direct) for name in direct[0]}
    embedded = {
        side: [branch_dispersion(_points(b), perplexity, s) for s in seeds]
        for side, b in sides.items()
    }
    for side, runs in embedded.items():
        measures[f't-SNE range ({side})'] = fmean(length for length, _ in runs)
        measures[f'null t-SNE range ({side})'] = fmean(
            branch_dispersion(_points(null[side]), perplexity, s)[0]
            for null, s in zip(nulls, seeds, strict=True)
        )
    both = [
        fmean(run[0] for run in runs) for runs in zip(*embedded.values(), strict=True)
    ]
    measures['t-SNE range'] = fmean(both)
    measures['t-SNE range deviation'] = stdev(both) if repeats > 1 else 0.0
    measures['null t-SNE range'] = fmean(
        measures[f'null t-SNE range ({side})'] for side in sides
    )
    number, rank, _ = sides['up'].shape
    owners = np.repeat(np.arange(number), rank)
    coordinates = np.column_stack([embedded['up'][0][1], owners]).tolist()
    return Dispersion(measures, coordinates)


def branch_dispersion(
    branches: ArrayLike, perplexity: float = PERPLEXITY, seed: int = 0
) -> tuple[float, Array]:
    """Embed weights in two dimensions by t-SNE and take their range.

    t-SNE starts from random places, so that other seeds show the range's own noise.

    Args:
        branches (ArrayLike): The points, ``(k, d)``.
        perplexity (float): Of t-SNE. Defaults to 5.
        seed (int): Of t-SNE. Defaults to 0.

    Returns:
        tuple[float, Array]: The range of the first coordinate plus that of the second,
        and the coordinates ``(k, 2)``.

    Raises:
        ValueError: If there are no more points than the perplexity.
        MissingExtraError: If scikit-learn isn't installed.
    """
    with extra('experiments'):
        from sklearn.manifold import TSNE

    points = np.asarray(branches, dtype=float)
    if not 0 < perplexity < len(points):
        raise ValueError(
            f'perplexity={perplexity} must be above 0 and below the number of points, '
            f'got {len(points)} points: set a smaller one for every n that is compared.'
        )
    tsne = TSNE(perplexity=perplexity, init='random', random_state=seed)
    embedding = tsne.fit_transform(points)
    return float(np.ptp(embedding, axis=0).sum()), embedding.astype(float)


def null_branches(branches: Array, generator: np.random.Generator) -> Array:
    """Branches as far from the mean of others as these, in random directions.

    Args:
        branches (Array): ``(n, r, d)``.
        generator (np.random.Generator): What the directions are drawn from.
    """
    mean = branches.mean(0)
    lengths = np.linalg.norm((branches - mean).reshape(len(branches), -1), axis=1)
    noise = generator.standard_normal(branches.shape)
    noise -= noise.mean(0)
    norms = np.linalg.norm(noise.reshape(len(noise), -1), axis=1)
    return mean + noise * (lengths / norms)[:, None, None]


def pair_gram(down: Array, up: Array) -> Array:
    """Inner products of all products B_j A_i, ``(n_down * n_up, n_down * n_up)``.

    Args:
        down (Array): ``(n_down, r, in)``.
        up (Array): The columns of the up branches as rows, ``(n_up, r, out)``.
    """
    of_down = np.einsum('iad,kbd->ikab', down, down, optimize=True)
    of_up = np.einsum('jad,lbd->jlab', up, up, optimize=True)
    pairs = len(down) * len(up)
    gram = np.einsum('ikab,jlab->ijkl', of_down, of_up, optimize=True)
    return gram.reshape(pairs, pairs)


def _direct(sides: dict[str, Array]) -> dict[str, float]:
    """Mean distance and mean cosine of the branches and of their products."""
    grams = {side: b.reshape(len(b), -1) for side, b in sides.items()}
    grams = {side: flat @ flat.T for side, flat in grams.items()}
    grams['delta-W'] = pair_gram(sides['down'], sides['up'])
    measures = {}
    for name, gram in grams.items():
        measures[f'distance ({name})'], measures[f'cosine ({name})'] = _of_gram(gram)
    return measures


def _points(branches: Array) -> Array:
    return branches.reshape(-1, branches.shape[-1])


def _of_gram(gram: Array) -> tuple[float, float]:
    """Mean distance and cosine of all pairs; a zero vector has cosine 0 to all."""
    first, second = np.triu_indices(len(gram), k=1)
    squares = gram.diagonal()
    products = gram[first, second]
    distances = np.sqrt(np.maximum(squares[first] + squares[second] - 2 * products, 0))
    norms = np.sqrt(squares[first] * squares[second])
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return float(distances.mean()), float(cosines.mean())


def _branches(branches: ArrayLike, side: str) -> Array:
    array = np.asarray(branches, dtype=float)
    if array.ndim != 3 or len(array) < 2:
        raise ValueError(
            f'the {side} branches must be (n, ...) of at least two branches, got an '
            f'array of shape {array.shape}: take an adapter that was not pruned to one.'
        )
    if not np.isfinite(array).all():
        raise ValueError(f'the {side} branches hold numbers that are not finite.')
    return array
