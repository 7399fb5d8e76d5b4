import pytest

from orchestrator.trials import _causes


class WrapperError(Exception):
    """Stands for Ray's: the cause is an attribute."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("wrapped\nTraceback ...")
        self.cause = cause


class WorkersError(Exception):
    def __init__(self, failures: dict[int, BaseException]) -> None:
        super().__init__("workers")
        self.worker_failures = failures


def chained() -> BaseException:
    try:
        try:
            raise ValueError("the root\nsecond line")
        except ValueError as error:
            raise RuntimeError("around it") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "reasons"),
    [
        (ValueError("plain"), ["ValueError: plain"]),
        (MemoryError(), ["MemoryError: "]),
        (WrapperError(ValueError("inner")), ["ValueError: inner"]),
        (chained(), ["ValueError: the root"]),
        (WorkersError({0: ValueError("a"), 1: WrapperError(OSError("b"))}), ["ValueError: a", "OSError: b"]),
    ],
)
def test_the_reason_is_the_root_cause(error: BaseException, reasons: list[str]) -> None:
    assert list(_causes(error)) == reasons
