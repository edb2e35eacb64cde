"""The errors a user can mend: each says what is wrong and what to do, in one sentence."""

__all__ = ["ReactiveDemoError", "first_line"]


class ReactiveDemoError(Exception):
    """What is wrong and how to mend it; shown without a traceback, never with a password."""

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def first_line(error: BaseException | None) -> str:
    """What an error says first: PostgreSQL and libpq add lines of detail and hints."""
    return str(error).strip().partition("\n")[0]
