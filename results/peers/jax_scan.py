"""JAX: a jitted lax.scan over batches that are on the device already."""
from _driver import BEST_CHUNK, serve


def peer(threads, device):
    import jax
    import jax.numpy as jnp
    import numpy
    from _jax import JaxPeer, train_step

    class ScanPeer(JaxPeer):
        mode = "a jitted lax.scan over device-resident batches"

        def compile(self):
            job = self.job

            def many(state, x, y, batches):
                def one(state, b):
                    return train_step(job, state, x[b], y[b]), None

                return jax.lax.scan(one, state, batches)[0]

            self.many = jax.jit(many, donate_argnums=0)

        def steps(self, batches):
            chunk = min(BEST_CHUNK, len(batches)) or 1
            for first in range(0, len(batches), chunk):
                part = jnp.asarray(numpy.asarray(batches[first:first + chunk], numpy.int32))
                self.state = self.many(self.state, self.x, self.y, part)
            jax.block_until_ready(self.state)

        def warm(self, batches, warm):
            # by whole calls of the very length that is timed, so that nothing is left to compile; none in a window for
            # joules, where that has been done and every step counts
            if warm == 0:
                return
            timed = len(batches) - warm
            self.steps((batches * 2)[:min(BEST_CHUNK, timed)])

    return ScanPeer(threads, device)


serve(peer)
