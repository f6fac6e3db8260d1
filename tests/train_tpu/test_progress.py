"""What is printed: lines where there is no terminal, a bar where there is one."""

import io

from rich.console import Console

from train_tpu.progress import Progress


def shown(terminal: bool, enabled: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, highlight=False, soft_wrap=not terminal)
    with Progress(total=200, done=0, enabled=enabled, console=console) as progress:
        progress.say("[brackets] stay")
        progress.update(50, 1.25, 1234.4, 3725, line=False)
        progress.update(100, 0.5, 1234.4, 65, line=True)
    return file.getvalue()


def test_lines_without_a_terminal() -> None:
    assert shown(terminal=False) == (
        "compiling the training step ...\n[brackets] stay\n"
        "step 100/200  loss 0.500  1,234 images/s  1:05 left\n"
    )


def test_bar_on_a_terminal() -> None:
    text = shown(terminal=True)
    assert "100/200" in text and "1,234 images/s" in text and "[brackets] stay" in text
    assert "step 100/200" not in text


def test_only_the_leading_host_speaks() -> None:
    assert shown(terminal=False, enabled=False) == ""
