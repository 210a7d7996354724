"""Write scikit_rmt_marchenko_pastur.json: densities of the Marchenko-Pastur law by scikit-rmt.

Needs an environment of its own, as scikit-rmt pins an old NumPy:

    python -m venv rmt && rmt/bin/pip install scikit-rmt==2.1.1
    rmt/bin/python tests/oracles/scikit_rmt_marchenko_pastur.py
"""

import json
from pathlib import Path

import numpy as np
from skrmt.ensemble.spectral_law import MarchenkoPasturDistribution

cases = []
for ratio, sigma in [(0.1, 1.0), (0.5, 1.5), (0.9, 1.0), (2.0, 1.0), (10.0, 0.5)]:
    law = MarchenkoPasturDistribution(ratio=ratio, sigma=sigma)
    share = (np.arange(12) + 0.5) / 12
    x = law.lambda_minus + (law.lambda_plus - law.lambda_minus) * share
    case = {"ratio": ratio, "variance": sigma**2, "x": x.tolist(), "density": law.pdf(x).tolist()}
    cases.append(case)
result = {"source": "scikit-rmt 2.1.1, MarchenkoPasturDistribution.pdf", "cases": cases}
Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
