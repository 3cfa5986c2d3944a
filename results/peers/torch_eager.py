"""PyTorch, eager: what a plain training loop with the fused optimiser costs."""
from _driver import serve


def peer(threads, device):
    from _torch import TorchPeer

    peer = TorchPeer(threads, device)
    peer.mode = "eager, fused Adam"
    return peer


serve(peer)
