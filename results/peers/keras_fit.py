"""Keras on TensorFlow: Model.fit as the study called it."""
from _driver import serve


def peer(threads, device):
    from _keras import KerasPeer

    peer = KerasPeer(threads, device)
    peer.mode = "Model.fit, time per batch with all its overheads"
    return peer


serve(peer)
