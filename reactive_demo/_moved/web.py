"""The former address of `reactive_demo.tutorial.web`."""

from reactive_demo.tutorial.web import ProfileApp

__all__ = ["ProfileApp"]
