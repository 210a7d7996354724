"""A training step recorded once as a CUDA graph and then replayed."""

import warnings

import torch

WARM_UP_STEPS = 3


class GraphedStep:
    """Replay the step of a `Stepper` on `stream`; the recording leaves its state as it was.

    The pattern is that of the PyTorch notes on CUDA graphs: some steps on a side stream, so that
    libraries and the allocator are ready, then the capture, with every random generator
    registered so that each replay draws new numbers.
    """

    def __init__(self, stepper, stream):
        before = {name: tensor.clone() for name, tensor in stepper.tensors().items()}
        stepper.optimizer.param_groups[0]["capturable"] = True
        stream.wait_stream(torch.cuda.current_stream(stepper.device))
        with torch.cuda.stream(stream), warnings.catch_warnings():
            # Adam warns of a capturable step that runs outside a capture, as these do.
            warnings.filterwarnings("ignore", message=".*capturable=True.*")
            for _ in range(WARM_UP_STEPS):
                stepper.step()
        stream.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        for generator in stepper.generators:
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph, stream=stream):
            stepper.step()
        torch.cuda.synchronize(stepper.device)
        stepper.load(before)
        torch.cuda.synchronize(stepper.device)
        self.stream = stream

    def __call__(self):
        with torch.cuda.stream(self.stream):
            self.graph.replay()
