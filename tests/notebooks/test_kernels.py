"""The kernels of these tests show what a notebook would show."""

from collections.abc import Callable
from typing import Any

from nbformat.v4 import new_code_cell

DISPLAYED = """
from IPython.display import DisplayHandle
handle = DisplayHandle()
handle.display({"text/plain": "one"}, raw=True)
handle.update({"text/plain": "two"}, raw=True)
"""


def test_what_is_displayed_may_be_updated_now_and_later(start_kernel: Callable[[], Any]) -> None:
    kernel = start_kernel()
    (shown,) = kernel.run(new_code_cell(DISPLAYED))
    assert shown.data == {"text/plain": "two"}
    assert kernel.run(new_code_cell('handle.update({"text/plain": "three"}, raw=True)')) == []
    assert shown.data == {"text/plain": "three"}
