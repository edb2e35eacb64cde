"""How far each feed goes on this machine: short measurements and their pictures, for chapter 12.

lab         where it is measured, and what was
measures    the measurements
picture     curves, as a picture and in words
published   figures of others, and where they are published
decision    the figures side by side, and which feed they speak for
"""

from reactive_demo.tutorial.limits.decision import Decision, decide
from reactive_demo.tutorial.limits.lab import LimitsLab
from reactive_demo.tutorial.limits.measures import (
    measure_backlog,
    measure_latency,
    measure_listeners,
    measure_payload,
    measure_queue,
    measure_viewers,
    measure_writers,
)
from reactive_demo.tutorial.limits.picture import Curve, Panel, Picture

__all__ = [
    "Curve",
    "Decision",
    "LimitsLab",
    "Panel",
    "Picture",
    "decide",
    "measure_backlog",
    "measure_latency",
    "measure_listeners",
    "measure_payload",
    "measure_queue",
    "measure_viewers",
    "measure_writers",
]
