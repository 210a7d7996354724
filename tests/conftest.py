"""What several test files share."""

import joblib
import pytest


@pytest.fixture
def dask_client():
    """A client of a real local Dask cluster, to which joblib sends its jobs meanwhile."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        yield client
