"""PyTorch with a whole training step captured as a CUDA graph, and the fused Adam: its quickest way without a compiler."""
from _driver import serve


def peer(threads, device):
    from _torch import TorchPeer

    class GraphPeer(TorchPeer):
        graph = True
        mode = "CUDA graph of a whole step, fused Adam"

    return GraphPeer(threads, device)


serve(peer)
