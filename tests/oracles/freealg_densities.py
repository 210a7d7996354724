"""Write freealg_densities.json: sample-covariance densities of two and sixteen atoms by freealg.

The N x N companion of the sample covariance is a compound free Poisson law of rate d / N whose
jumps are the population. freealg evaluates it at x + i eta and takes each solution as the start
of the next, which needs a fine grid from outside the support. Needs an environment of its own:

    python -m venv free && free/bin/pip install freealg==0.12.2
    free/bin/python tests/oracles/freealg_densities.py
"""

import json
from pathlib import Path

import numpy as np
from freealg.distributions import CompoundFreePoisson

ETA = 1e-12
STRIDE = 40
CASES = [
    {"jumps": [1.0, 8.0], "weights": [0.5, 0.5], "ratio": 0.5},
    {"jumps": [1.0, 3.0], "weights": [0.25, 0.75], "ratio": 2.0},
    {"jumps": np.linspace(1.0, 4.0, 16).tolist(), "weights": [1 / 16] * 16, "ratio": 0.4},
]
for case in CASES:
    jumps, weights = np.array(case["jumps"]), np.array(case["weights"])
    law = CompoundFreePoisson(t=jumps, w=weights, lam=case["ratio"])
    x = np.linspace(0.02, 1.8, 24 * STRIDE) * jumps.max()
    density = np.asarray(law.density(x=x, eta=ETA))
    case["x"] = x[::STRIDE].tolist()
    case["companion_density"] = density[::STRIDE].tolist()
result = {"source": f"freealg 0.12.2, CompoundFreePoisson.density, eta={ETA}", "cases": CASES}
Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
