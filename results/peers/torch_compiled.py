"""PyTorch through torch.compile: forward + loss (and with it the backward) and the optimiser's step."""
from _driver import serve


def peer(threads, device):
    from _torch import TorchPeer

    peer = TorchPeer(threads, device)
    peer.compiled = True
    peer.mode = "torch.compile of forward + loss and of the fused Adam step"
    if device == "cuda":
        peer.mode += ", max-autotune"
    return peer


serve(peer)
