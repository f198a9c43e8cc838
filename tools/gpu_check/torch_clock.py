"""How long torch takes, on a GPU or on the CPU."""
import time

import torch


class TorchClock:
    def __init__(self, device):
        self.is_gpu = device == "cuda"

    def wait(self):
        if self.is_gpu:
            torch.cuda.synchronize()

    def timed(self, work):
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began
