"""Settings for threads of the linear algebra libraries; must be imported before torch and numpy.

A merge has many small matrices, so it is faster to compute one matrix per core (`thread_pool`) than one matrix on
several cores.

- Threads sleep while they wait instead of spinning. On a busy machine, a spinning thread occupies the core that the
  thread it waits for needs: an eigenproblem of size 128 took 400 ms on two busy cores, and 5 ms with sleeping threads.
- In a container with a quota of processor time, torch uses as many threads as the quota has cores.
- numpy's library, which solves the eigenproblems, uses only the calling thread.
"""

import os
import sys

from esm_viz.runtime.container_limits import cores_at_start

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if hasattr(os, "sched_getaffinity") and cores_at_start() < len(os.sched_getaffinity(0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_at_start()))
if "numpy" in sys.modules:  # imported before, as in a notebook: the library has read its environment already
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")
