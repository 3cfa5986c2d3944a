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

    def __init__(self, threads, device):
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.set_float32_matmul_precision("highest")
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("this PyTorch sees no CUDA device")
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
                                          betas=(adam.beta1, adam.beta2), eps=adam.epsilon, fused=True)
        network, loss = self.network, loss_of(self.job.task)

        def forward(x, y):
            return loss(network(x), y)

        self.forward, self.update = forward, self.optimizer.step
        if self.compiled:
            self.forward, self.update = torch.compile(forward), torch.compile(self.optimizer.step)

    def step(self, batch):
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
