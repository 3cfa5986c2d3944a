"""A driver in plain Python: the whole protocol of results/peers/_driver.py, and a trainer of three loops that really
learns, for tests. What it does wrong on purpose, its file's name says."""
import array
import json
import math
import os
import sys
import time

WRONG = os.path.splitext(os.path.basename(sys.argv[0]))[0]


def floats(path):
    values = array.array("f")
    with open(path, "rb") as file:
        values.frombytes(file.read())
    return values


class Trainer:
    def __init__(self, job):
        self.job, folder = job, job["folder"]
        self.x, self.y = floats(folder + "/x.f32"), floats(folder + "/y.f32")
        self.sizes = [job["inputs"]] + job["widths"]
        self.restart()

    def restart(self):
        weights, biases = floats(self.job["folder"] + "/weights.f32"), floats(self.job["folder"] + "/biases.f32")
        self.layers = []
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):
            self.layers.append([[weights[o * fan_in:(o + 1) * fan_in].tolist() + [biases[o]] for o in range(fan_out)]])
            weights, biases = weights[fan_in * fan_out:], biases[fan_out:]
        for layer in self.layers:
            layer += [[[0.0] * len(row) for row in layer[0]] for _ in range(2)]
        self.count = 0

    def rows(self, batch):
        n, outputs = self.sizes[0], self.sizes[-1]
        for r in range(batch * self.job["batch"], (batch + 1) * self.job["batch"]):
            yield self.x[r * n:(r + 1) * n].tolist(), self.y[r * outputs:(r + 1) * outputs].tolist()

    def forward(self, x):
        values = [x]
        for k, (weights, _, _) in enumerate(self.layers):
            out = [sum(w * v for w, v in zip(row, values[-1])) + row[-1] for row in weights]
            values.append(out if k + 1 == len(self.layers) else [max(0.0, v) for v in out])
        logits = values[-1]
        most = max(logits)
        total = sum(math.exp(v - most) for v in logits)
        values[-1] = [math.exp(v - most) / total for v in logits]
        return values

    def loss(self, batch):
        losses = [-sum(t * math.log(p) for t, p in zip(y, self.forward(x)[-1])) for x, y in self.rows(batch)]
        return sum(losses) / len(losses)

    def step(self, batch):
        job = self.job
        gradients = [[[0.0] * len(row) for row in layer[0]] for layer in self.layers]
        for x, y in self.rows(batch):
            values = self.forward(x)
            delta = [(p - t) / job["batch"] for p, t in zip(values[-1], y)]
            for k in reversed(range(len(self.layers))):
                for o, d in enumerate(delta):
                    for i, v in enumerate(values[k] + [1.0]):
                        gradients[k][o][i] += d * v
                delta = [sum(d * row[i] for d, row in zip(delta, self.layers[k][0])) if v > 0 else 0.0
                         for i, v in enumerate(values[k])]
        self.count += 1
        b1, b2 = job["beta1"], job["beta2"]
        rate = job["learning_rate"] * math.sqrt(1 - b2**self.count) / (1 - b1**self.count)
        if WRONG == "learns_too_fast":
            rate *= 1.1
        for (weights, first, second), gradient in zip(self.layers, gradients):
            for w, m, v, g in zip(weights, first, second, gradient):
                for i, value in enumerate(g):
                    m[i] = b1 * m[i] + (1 - b1) * value
                    v[i] = b2 * v[i] + (1 - b2) * value * value
                    w[i] -= rate * m[i] / (math.sqrt(v[i]) + job["epsilon"])


def answer(message, state):
    action = message["do"]
    if action == "hello":
        if WRONG == "not_installed":
            return {"absent": "No module named 'pretended'"}
        return {"library": "plain Python", "mode": "three loops", "epsilon_on_corrected_root": WRONG == "kingma_and_ba"}
    if action == "open":
        if WRONG == "cannot_open":
            return {"error": "ValueError: no such layer"}
        state["trainer"] = Trainer(message)
        return {}
    trainer = state.get("trainer")
    if action == "prove":
        if WRONG == "is_late" and message["batches"]:
            time.sleep(6)
        trainer.restart()
        if WRONG != "does_not_learn":
            for batch in message["batches"]:
                trainer.step(batch)
        loss = trainer.loss(message["evaluate"])
        return {"loss": float("nan") if WRONG == "is_not_finite" and message["batches"] else loss}
    if action == "run":
        if WRONG == "dies_in_its_turn":
            print("the last words of a driver", file=sys.stderr)
            sys.exit(3)
        start = time.perf_counter()
        for batch in message["batches"][message["warm"]:]:
            trainer.step(batch)
        return {"seconds": time.perf_counter() - start}
    return {}


state = {}
for line in sys.stdin:
    message = json.loads(line)
    if WRONG == "sleeps":
        time.sleep(60)
    if WRONG == "talks":
        print("Welcome to a library that prints", flush=True)
    print(json.dumps(answer(message, state)), flush=True)
