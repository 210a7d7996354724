"""Speed of the package against what a user would write or install instead.

Figures are CPU seconds of one thread, so BLAS must not start more before numpy is loaded.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
