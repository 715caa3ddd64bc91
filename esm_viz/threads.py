"""Threads of the linear algebra library that wait asleep instead of spinning; to be imported before torch.

Our matrices are small and many. On a machine that does something else as well, a spinning thread keeps its partner
from the core it waits for: an eigenproblem of side 128 then took 400 ms on two busy cores, and 5 ms asleep.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
