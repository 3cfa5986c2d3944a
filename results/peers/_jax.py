"""JAX's side of the drivers: one training step as a function, jitted once or inside a scan."""
import jax
import jax.numpy as jnp
import numpy


def network(job, parameters, x):
    last = len(job.widths) - 1
    for layer, (weights, biases) in enumerate(parameters):
        out = x @ weights + biases
        if layer < last:
            out = jax.nn.relu(out)  # jnp.maximum has half a gradient where both are 0: dead units of narrow networks
            if job.adds_input(layer):
                out = out + x
        x = out
    return x


def loss(job, parameters, x, y):
    logits = network(job, parameters, x)
    if job.task == "multiclass":
        return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(logits), axis=1))
    if job.task == "binary":
        return jnp.mean(jnp.maximum(logits, 0) - logits * y + jnp.log1p(jnp.exp(-jnp.abs(logits))))
    return jnp.mean((jax.nn.sigmoid(logits) - y) ** 2)


def train_step(job, state, x, y):
    """state = (parameters, first moments, second moments, steps taken)"""
    parameters, first, second, count = state
    adam = job.adam
    gradients = jax.grad(lambda p: loss(job, p, x, y))(parameters)
    count = count + 1
    rate = adam.learning_rate * jnp.sqrt(1 - adam.beta2**count) / (1 - adam.beta1**count)
    first = jax.tree.map(lambda m, g: adam.beta1 * m + (1 - adam.beta1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: adam.beta2 * v + (1 - adam.beta2) * g * g, second, gradients)
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + adam.epsilon), parameters, first, second)
    return parameters, first, second, count


class JaxPeer:
    def __init__(self, threads, device):
        self.device = jax.devices("gpu" if device == "cuda" else device)[0]
        jax.config.update("jax_default_device", self.device)
        jax.config.update("jax_default_matmul_precision", "highest")
        self.library = f"jax {jax.__version__}"

    def open(self, job):
        self.job = job
        batches = job.rows // job.batch
        self.x = jax.device_put(job.x.reshape(batches, job.batch, -1), self.device)
        self.y = jax.device_put(job.y.reshape(batches, job.batch, -1), self.device)
        self.evaluate = jax.jit(lambda parameters, x, y: loss(job, parameters, x, y))
        self.compile()
        self.restart()

    def restart(self):
        # [in x out], contiguous: the layout in which x @ w reads both operands along their rows
        parameters = [(jnp.array(numpy.ascontiguousarray(w.T)), jnp.array(b))
                      for w, b in zip(self.job.weights, self.job.biases)]
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self.state = (parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), jnp.float32))

    def prove(self, batches, evaluate):
        self.restart()
        self.steps(batches)
        return self.evaluate(self.state[0], self.x[evaluate], self.y[evaluate])

    def run(self, batches, warm):
        from _driver import timed

        self.warm(batches, warm)
        return timed(lambda: self.steps(batches[warm:]))

    def close(self):
        self.x = self.y = self.state = self.evaluate = None
        jax.clear_caches()
