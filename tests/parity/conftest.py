"""Which recorded files each test runs on.

A test marked `recorded("unet")` runs once for every file of the directory whose name begins with
that kind ("unet.npz", "unet64.npz"), and is skipped where there is none.
"""

from pathlib import Path

import pytest

from tests.parity.recording import Recording


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per recorded file of the kind that it is marked with."""
    marker = metafunc.definition.get_closest_marker("recorded")
    if marker is None or "recording" not in metafunc.fixturenames:
        return
    (kind,) = marker.args
    directory = Path(metafunc.config.getoption("--recorded"))
    files = sorted(directory.glob(f"{kind}*.npz"))
    reason = f"no {kind}*.npz in {directory} (choose another with --recorded=DIR)"
    missing = pytest.param(None, marks=pytest.mark.skip(reason=reason), id="missing")
    found = [pytest.param(file, id=file.stem) for file in files]
    metafunc.parametrize("recording", found or [missing], indirect=True, scope="module")


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(request.param)
