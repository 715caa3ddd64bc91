"""Threads of the linear algebra libraries; to be imported before torch and numpy.

Our matrices are small and many: what keeps the cores busy is one matrix a core (`parallel`), not two cores a matrix.

- Threads wait asleep instead of spinning. On a machine that does something else as well, a spinning thread keeps its
  partner from the core it waits for: an eigenproblem of side 128 then took 400 ms on two busy cores, and 5 ms asleep.
- In a container with a quota of processor time torch uses as many threads as that has cores, not as the machine has.
- numpy's library, which solves our eigenproblems, uses the thread that calls it and no other.
"""

import os
import sys

from esm_viz.runtime.container_limits import cores_at_start

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if hasattr(os, "sched_getaffinity") and cores_at_start() < len(os.sched_getaffinity(0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_at_start()))
if "numpy" in sys.modules:  # a notebook was quicker: its library has read its environment already
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")
