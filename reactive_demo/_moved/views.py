"""The former address of `reactive_demo.tutorial.widgets`."""

from reactive_demo.tutorial.widgets import AppWindows, BurstButton, FlowView, ProfileCard, Windows

__all__ = ["AppWindows", "BurstButton", "FlowView", "ProfileCard", "Windows"]
