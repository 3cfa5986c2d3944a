"""What every driver shares: the protocol over the pipes, the data, Adam's constants.

A driver is one file that defines a Peer and ends in `serve(Peer)`. mlpwatt starts it, writes one JSON object a line to
its standard input and reads one back for each:

    {"do": "hello", "threads": 2, "device": "cpu"}    -> {"library": "torch 2.15.0", "mode": "eager, fused Adam",
                                                          "epsilon_on_corrected_root": true}
    {"do": "open", "folder": F, "inputs": 784, "widths": [64, 10], "residual": false, "task": "multiclass",
     "batch": 256, "rows": 55808, "learning_rate": 1e-4, "beta1": .9, "beta2": .999, "epsilon": 1e-7} -> {}
    {"do": "prove", "batches": [3, 0, ...], "evaluate": 7} -> {"loss": 0.6931}
    {"do": "run", "batches": [...], "warm": 2}         -> {"seconds": 0.0123}
    {"do": "close"}                                    -> {}

F holds float32, row-major: x.f32 [rows x inputs], y.f32 [rows x outputs] and, layer by layer, weights.f32 [out x in]
and biases.f32 [out]. `prove` starts from those weights, takes one step on each batch and returns the mean loss over the
batch `evaluate` after them. `run` goes on from wherever the weights are; its first `warm` batches are not timed (whatever
compiles, compiles there). A batch b is the rows b * batch .. (b + 1) * batch - 1.
Answers of {"error": "..."} name what cannot be done; {"absent": "..."} that the library is not installed.
The number of steps timed (batches - warm) is a power of two.
"""
import json
import os
import sys
import time

BEST_CHUNK = 64  # steps of one call where a library can take many


class Adam:
    """w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon): Keras' form, which is ours. A peer whose library adds
    epsilon to the bias-corrected root says so (`epsilon_on_corrected_root`): its proof is held against that form."""

    def __init__(self, job):
        self.learning_rate = job["learning_rate"]
        self.beta1, self.beta2, self.epsilon = job["beta1"], job["beta2"], job["epsilon"]


class Job:
    """One network on one dataset; arrays are NumPy views of the files."""

    def __init__(self, message):
        import numpy

        self.inputs, self.widths = message["inputs"], message["widths"]
        self.residual, self.task = message["residual"], message["task"]
        self.batch, self.rows = message["batch"], message["rows"]
        self.adam = Adam(message)

        def read(name, columns=None):
            values = numpy.fromfile(os.path.join(message["folder"], name), numpy.float32)
            return values if columns is None else values.reshape(-1, columns)

        self.x, self.y = read("x.f32", self.inputs), read("y.f32", self.widths[-1])
        flat_weights, flat_biases = read("weights.f32"), read("biases.f32")
        self.weights, self.biases = [], []
        for fan_in, fan_out in self.layers():
            self.weights.append(flat_weights[: fan_in * fan_out].reshape(fan_out, fan_in))
            self.biases.append(flat_biases[:fan_out])
            flat_weights, flat_biases = flat_weights[fan_in * fan_out:], flat_biases[fan_out:]

    def layers(self):
        return list(zip([self.inputs] + self.widths, self.widths))

    def adds_input(self, layer):
        """Whether a hidden layer of a residual network adds its input to its activated output."""
        return self.residual and 0 < layer < len(self.widths) - 1 and self.widths[layer] == self.widths[layer - 1]

    def rows_of(self, batches):
        """Row numbers of these batches, in their order."""
        import numpy

        first = numpy.asarray(batches)[:, None] * self.batch
        return (first + numpy.arange(self.batch)).ravel()


def use_processors(threads):
    """Libraries that count processors see what the affinity mask says; it was set before we were started."""
    allowed = sorted(os.sched_getaffinity(0))
    return min(threads, len(allowed))


def timed(function):
    """Seconds of a call that returns when its work is done."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def serve(peer_class):
    # Libraries print: the protocol gets a descriptor of its own, and standard output goes where errors go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = None
    for line in sys.stdin:
        message = json.loads(line)
        action = message.pop("do")
        try:
            if action == "hello":
                peer = peer_class(use_processors(message["threads"]), message["device"])
                answer = {"library": peer.library, "mode": peer.mode,
                          "epsilon_on_corrected_root": getattr(peer, "epsilon_on_corrected_root", False)}
            elif action == "open":
                peer.open(Job(message))
                answer = {}
            elif action == "prove":
                answer = {"loss": float(peer.prove(message["batches"], message["evaluate"]))}
            elif action == "run":
                answer = {"seconds": peer.run(message["batches"], message["warm"])}
            elif action == "close":
                peer.close()
                answer = {}
            else:
                answer = {"error": f"unknown request '{action}'"}
        except ImportError as error:
            answer = {"absent": str(error)}
        except Exception as error:  # the other side decides what to do without this peer
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
