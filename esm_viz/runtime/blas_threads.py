"""Settings for threads of the linear algebra libraries; must be imported before torch and numpy.

A merge has many small matrices, so it is faster to compute one matrix per core (`thread_pool`) than one matrix on
several cores.

- Threads sleep while they wait instead of spinning. On a busy machine, a spinning thread occupies the core that the
  thread it waits for needs: an eigenproblem of size 128 took 400 ms on two busy cores, and 5 ms with sleeping threads.
- numpy's library, which solves the eigenproblems, uses only the calling thread.
"""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "numpy" in sys.modules:  # imported before, as in a notebook: the library has read its environment already
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")
