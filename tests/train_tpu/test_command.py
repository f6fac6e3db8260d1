"""How a command ends."""

import pytest

from train_tpu.command import exit_status
from train_tpu.errors import RunFailed, UserError


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("--out x: exists\nand more"), 2, "error: --out x: exists\n"),
        (RunFailed("too many images"), 1, "error: too many images\n"),
        (OSError(28, "No space left on device", "a.csv"), 1, "error: a.csv: No space left on device\n"),
        (ModuleNotFoundError("no", name="grain"), 2, "error: training needs the package grain, "),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_what_is_the_users_business_is_one_line(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert exit_status(fail, interrupted="stopped") == status
    printed = capsys.readouterr().err
    assert printed.startswith(said) and printed.count("\n") == 1


def test_what_is_a_bug_stays_a_traceback() -> None:
    def fail() -> int:
        raise OSError("without a number")

    with pytest.raises(OSError, match="without a number"):
        exit_status(fail)
    assert exit_status(lambda: 7) == 7
