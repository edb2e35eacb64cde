"""The notebooks' widgets: cards that follow the cache, and pictures of what happens."""

from reactive_demo.screen.label import LiveLabel
from reactive_demo.tutorial.widgets.app_windows import AppWindows
from reactive_demo.tutorial.widgets.burst import BurstButton
from reactive_demo.tutorial.widgets.card import ProfileCard
from reactive_demo.tutorial.widgets.flow import FlowView
from reactive_demo.tutorial.widgets.keep_in_view import KeepInView
from reactive_demo.tutorial.widgets.windows import Windows

__all__ = [
    "AppWindows",
    "BurstButton",
    "FlowView",
    "KeepInView",
    "LiveLabel",
    "ProfileCard",
    "Windows",
]
