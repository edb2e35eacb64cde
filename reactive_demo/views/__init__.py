"""What people see: labels and cards that follow the cache."""

from reactive_demo.views.app_windows import AppWindows
from reactive_demo.views.burst import BurstButton
from reactive_demo.views.card import ProfileCard
from reactive_demo.views.flow import FlowView
from reactive_demo.views.label import LiveLabel
from reactive_demo.views.windows import Windows

__all__ = ["AppWindows", "BurstButton", "FlowView", "LiveLabel", "ProfileCard", "Windows"]
