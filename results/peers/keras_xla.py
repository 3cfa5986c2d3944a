"""Keras on TensorFlow under XLA: Model.fit with jit_compile."""
from _driver import serve


def peer(threads, device):
    from _keras import KerasPeer

    peer = KerasPeer(threads, device)
    peer.jit_compile = True
    peer.mode = "Model.fit with jit_compile, time per batch with all its overheads"
    return peer


serve(peer)
