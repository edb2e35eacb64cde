"""What a listener is doing, in the field's words."""

from enum import StrEnum

__all__ = ["State"]


class State(StrEnum):
    """What a listener is doing."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    STANDBY = "standby"
    CATCHING_UP = "catching up"
    LIVE = "live"
    DEGRADED = "degraded"
    STOPPED = "stopped"
