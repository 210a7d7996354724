"""Each experiment at smoke size, run once in a session."""

import pytest

from lindiff.experiments import results, runner
from tests.experiments.runs import Smoke, trainings


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Return ``run(exp)``; all experiments share one working store."""
    pytest.importorskip("torch")
    store, known = tmp_path_factory.mktemp("store"), {}

    def run(exp):
        if exp not in known:
            with pytest.MonkeyPatch.context() as patch:
                trained = trainings(patch)
                outcome = runner.run(exp, "smoke", out=store, device="cpu")
            result = results.load(exp, "smoke", folder=outcome.folder)
            known[exp] = Smoke(outcome, result, trained)
        return known[exp]

    return run
