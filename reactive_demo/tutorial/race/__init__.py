"""All strategies side by side: measured on real servers, with as slow a network as you like."""

from reactive_demo.tutorial.race.delay_chart import DelayChart
from reactive_demo.tutorial.race.plot import FigureTable, Plot
from reactive_demo.tutorial.race.race import Measured, Race

__all__ = ["DelayChart", "FigureTable", "Measured", "Plot", "Race"]
