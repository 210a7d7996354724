r"""Diagnostics of any denoiser: how linear, how close to which closed form, copying or not.

A denoiser is anything with ``denoise(x, sigma)`` for points (n, d): a network of
`lindiff.nn.build`, one of another library through `lindiff.nn.adapters`, or a closed form.
Points are tensors of any floating type on any device, or NumPy arrays, which are turned
into float32. All sums and distances are float64. Images are in [-1, 1]; grey levels,
which are nowhere negative and somewhere beyond 20, are refused.

The noise of a seed is drawn in float32 on the CPU, so that it is the same for every
denoiser, floating type and device. Standard errors are those of the bootstrap over images.

`diagnose` prints a table of the most important ones. Sources: Li, Dai and Qu 2024 (arXiv
2410.24060), ids L-; Kadkhodaie, Guth, Simoncelli and Mallat 2024 (arXiv 2310.02557), ids
K-; Merger and Goldt 2025 (arXiv 2505.24769), ids MG-.
"""

from lindiff.nn._cosines import (
    Agreement,
    DetailSimilarity,
    agreement,
    detail_similarity,
    unrelated_cosine,
)
from lindiff.nn._diagnosis import Diagnosis, diagnose
from lindiff.nn._directions import Band, DirectionWise, direction_wise, relative_distance
from lindiff.nn._distances import Pythagoras, mse, mse_difference, pythagoras, rmse_between
from lindiff.nn._distillation import Distillation, distil_linear
from lindiff.nn._evaluation import Estimate
from lindiff.nn._jacobian import JacobianChecks, jacobian_checks
from lindiff.nn._linearity import Linearity, linearity
from lindiff.nn._sample_metrics import frechet_pca, sliced_w2
from lindiff.nn._similarity import (
    GeneralisationScore,
    MemorisedFraction,
    Nearest,
    generalisation_score,
    memorised_fraction,
    nearest,
)

__all__ = [
    "Agreement",
    "Band",
    "DetailSimilarity",
    "Diagnosis",
    "DirectionWise",
    "Distillation",
    "Estimate",
    "GeneralisationScore",
    "JacobianChecks",
    "Linearity",
    "MemorisedFraction",
    "Nearest",
    "Pythagoras",
    "agreement",
    "detail_similarity",
    "diagnose",
    "direction_wise",
    "distil_linear",
    "frechet_pca",
    "generalisation_score",
    "jacobian_checks",
    "linearity",
    "memorised_fraction",
    "mse",
    "mse_difference",
    "nearest",
    "pythagoras",
    "relative_distance",
    "rmse_between",
    "sliced_w2",
    "unrelated_cosine",
]
