"""Two commands that write to one folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from glober_jax.alone import alone_in
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.errors import UserError

_HOLD = """
import sys
from pathlib import Path
from glober_jax.alone import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_the_second_command_is_sent_away(tmp_path: Path) -> None:
    """Fails when two commands write to one folder at once, or a killed one keeps others out."""
    sky = SyntheticSkyOptions(num_videos=1, num_test_videos=1, num_frames=1, size=8)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match=f"another command is writing to {tmp_path}: wait"):
            make_dataset(sky, tmp_path)
        assert list(tmp_path.iterdir()) == []
        other.kill()
    assert make_dataset(sky, tmp_path)["accepted"] == 2
    with alone_in(tmp_path):
        pass
