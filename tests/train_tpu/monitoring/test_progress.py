"""What is printed: lines where there is no terminal, a bar where there is one."""

import io

from rich.console import Console

from train_tpu.monitoring.progress import Counting, Progress


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


def test_counting_says_how_far_it_is_now_and_then(monkeypatch) -> None:
    file = io.StringIO()
    seconds = iter([0.0, 10.0, 10.0, 25.0, 25.0, 25.0, 30.0, 30.0, 30.0])
    last = [0.0]

    def clock() -> float:
        last[0] = next(seconds, last[0])
        return last[0]

    monkeypatch.setattr("train_tpu.monitoring.progress.time.perf_counter", clock)
    with Counting("images", 1000, Console(file=file, force_terminal=False, soft_wrap=True)) as counting:
        counting.add(100)
        counting.add(400)
        counting.add(100)
    assert file.getvalue() == "images 500/1,000  20 images/s  0:25 left\n"


def test_counting_on_a_terminal_is_a_bar() -> None:
    file = io.StringIO()
    with Counting("images", 8, Console(file=file, force_terminal=True, width=80)) as counting:
        counting.add(8)
    assert "8/8" in file.getvalue() and "images/s" in file.getvalue()


def test_evaluation_is_followed_on_the_bar() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=140)
    with Progress(total=200, done=50, console=console) as progress:
        seen = []
        for batch in progress.evaluating(["a", "b", "c"], batch_size=4, total=10):
            progress._bar.refresh()
            seen.append(batch)
    assert seen == ["a", "b", "c"]
    assert "evaluating 0/10" in file.getvalue() and "evaluating 8/10" in file.getvalue()
    assert "50/200" in file.getvalue(), "the steps stay where they are"
