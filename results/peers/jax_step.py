"""JAX: one jitted training step, called from Python for each batch."""
from _driver import serve


def peer(threads, device):
    import jax
    from _jax import JaxPeer, train_step

    class StepPeer(JaxPeer):
        mode = "one jitted step"

        def compile(self):
            job = self.job
            self.step = jax.jit(lambda state, x, y: train_step(job, state, x, y), donate_argnums=0)
            # as a training loop would hold them: slicing is no part of the step
            self.batches = [(self.x[b], self.y[b]) for b in range(len(self.x))]

        def steps(self, batches):
            for b in batches:
                self.state = self.step(self.state, *self.batches[b])
            jax.block_until_ready(self.state)

        def warm(self, batches, warm):
            self.steps(batches[:warm])

        def close(self):
            self.batches = None
            super().close()

    return StepPeer(threads, device)


serve(peer)
