"""The mathematics of METHOD as pure functions on tensors, computed in float64.

Axes: T tasks, W (d_out, d_in), n tokens, r directions per task. Tensors may be on any device.
"""
