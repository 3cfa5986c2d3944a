"""PyTorch's side of the drivers: the network as plain tensors, on the CPU or a CUDA device."""
import torch
import torch.nn.functional as F


class Network(torch.nn.Module):
    def __init__(self, job, device):
        super().__init__()
        self.job = job
        parameters = []
        for weights, biases in zip(job.weights, job.biases):
            parameters += [torch.nn.Parameter(torch.tensor(weights, device=device)),
                           torch.nn.Parameter(torch.tensor(biases, device=device))]
        self.parameters_ = torch.nn.ParameterList(parameters)

    def forward(self, x):
        last = len(self.job.widths) - 1
        for layer in range(last + 1):
            out = F.linear(x, self.parameters_[2 * layer], self.parameters_[2 * layer + 1])
            if layer < last:
                out = F.relu(out)
                if self.job.adds_input(layer):
                    out = out + x
            x = out
        return x


def loss_of(task):
    """Losses of the output before its softmax or sigmoid."""
    if task == "multiclass":
        return F.cross_entropy  # targets are class numbers
    if task == "binary":
        return F.binary_cross_entropy_with_logits
    return lambda logits, target: F.mse_loss(torch.sigmoid(logits), target)


class TorchPeer:
    compiled = False  # whether forward + loss and the optimiser's step go through torch.compile
    epsilon_on_corrected_root = True  # as Kingma and Ba's Algorithm 1
    graph = False  # whether a whole step is captured as a CUDA graph

    def __init__(self, threads, device):
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.set_float32_matmul_precision("highest")
        torch.set_flush_denormal(True)  # as XLA and ours do: a vanishing gradient must not cost a hundred cycles
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("this PyTorch sees no CUDA device")
        if self.graph and device != "cuda":
            raise RuntimeError(f"CUDA graphs need a CUDA device, not {device}")
        # fp32 means fp32: no tf32 behind its back
        torch.backends.cuda.matmul.allow_tf32 = False
        self.device = torch.device(device)
        self.library = f"torch {torch.__version__}"

    def open(self, job):
        self.job = job
        if self.compiled:
            torch._dynamo.reset()
        self.x = torch.from_numpy(job.x).to(self.device).split(job.batch)
        targets = torch.from_numpy(job.y)
        if job.task == "multiclass":
            targets = targets.argmax(1)
        self.y = targets.to(self.device).split(job.batch)
        self.restart()

    def restart(self):
        adam = self.job.adam
        self.network = Network(self.job, self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=adam.learning_rate,
                                          betas=(adam.beta1, adam.beta2), eps=adam.epsilon, fused=True,
                                          capturable=self.graph)
        network, loss = self.network, loss_of(self.job.task)

        def forward(x, y):
            return loss(network(x), y)

        self.forward, self.update = forward, self.optimizer.step
        if self.compiled:
            # On a GPU the mode that tunes kernels and captures graphs; on the CPU it only takes longer to compile.
            mode = "max-autotune" if self.device.type == "cuda" else "default"
            self.forward = torch.compile(forward, mode=mode)
            self.update = torch.compile(self.optimizer.step, mode=mode)
        if self.graph:
            self.capture()

    def capture(self):
        """One whole step in one graph, over a batch copied to where the graph looks for it."""
        self.static_x, self.static_y = self.x[0].clone(), self.y[0].clone()
        saved = [parameter.detach().clone() for parameter in self.network.parameters()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # three warm-up steps, as PyTorch's documentation asks
            for _ in range(3):
                self.optimizer.zero_grad(set_to_none=True)
                self.forward(self.static_x, self.static_y).backward()
                self.update()
        torch.cuda.current_stream().wait_stream(side)
        self.captured = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.captured):
            self.forward(self.static_x, self.static_y).backward()
            self.update()
        # as if nothing had been trained yet, in the very memory that the graph works in
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), saved):
                parameter.copy_(value)
            for state in self.optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()

    def step(self, batch):
        if self.graph:
            self.static_x.copy_(self.x[batch])
            self.static_y.copy_(self.y[batch])
            self.captured.replay()
            return
        self.forward(self.x[batch], self.y[batch]).backward()
        self.update()
        self.optimizer.zero_grad(set_to_none=True)

    def finish(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def prove(self, batches, evaluate):
        self.restart()
        for batch in batches:
            self.step(batch)
        with torch.no_grad():
            return loss_of(self.job.task)(self.network(self.x[evaluate]), self.y[evaluate]).item()

    def steps(self, batches):
        for batch in batches:
            self.step(batch)
        self.finish()

    def run(self, batches, warm):
        from _driver import timed

        self.steps(batches[:warm])
        return timed(lambda: self.steps(batches[warm:]))

    def close(self):
        self.x = self.y = self.network = self.optimizer = self.forward = self.update = None
        self.captured = self.static_x = self.static_y = None
