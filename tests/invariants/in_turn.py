"""Recipes one after the other by the same workers, each as `torchrun -m trainables` runs one: imports take longest."""

import json
import sys
from pathlib import Path

from torch import distributed

from trainables.__main__ import read, train

distributed.init_process_group("gloo")
for file, folder in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    result = train(read(Path(file)), Path(folder))
    if distributed.get_rank() == 0:
        print(json.dumps(result))
distributed.destroy_process_group()
