"""Keras' side of the drivers: Model.fit, the way the study trained."""
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras  # noqa: E402
import tensorflow  # noqa: E402


class Stopwatch(keras.callbacks.Callback):
    """From the beginning of batch `warm` to the end of the last: every overhead of a batch is in, what a call of fit
    costs once is not."""

    def __init__(self, warm):
        super().__init__()
        self.warm, self.start, self.stop = warm, None, None

    def on_train_batch_begin(self, batch, logs=None):
        if batch >= self.warm and self.start is None:
            self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.stop = time.perf_counter()


class KerasPeer:
    jit_compile = False

    def __init__(self, threads, device):
        if device != "cpu":
            raise RuntimeError(f"this driver runs on the cpu only, not on {device}")
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        self.library = f"tensorflow {tensorflow.__version__}, keras {keras.__version__}"

    def open(self, job):
        self.job = job
        keras.backend.clear_session()
        x = inputs = keras.Input((job.inputs,))
        last = len(job.widths) - 1
        final = "softmax" if job.task == "multiclass" else "sigmoid"
        for layer, width in enumerate(job.widths):
            out = keras.layers.Dense(width, activation="relu" if layer < last else final)(x)
            x = keras.layers.Add()([out, x]) if job.adds_input(layer) else out
        self.model = keras.Model(inputs, x)
        self.dense = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Dense)]
        self.restart()

    def restart(self):
        for layer, weights, biases in zip(self.dense, self.job.weights, self.job.biases):
            layer.set_weights([weights.T, biases])
        adam = self.job.adam
        losses = {"multiclass": "categorical_crossentropy", "binary": "binary_crossentropy",
                  "regression": "mean_squared_error"}
        self.model.compile(
            keras.optimizers.Adam(adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon),
            loss=losses[self.job.task], jit_compile=self.jit_compile)

    def fit(self, batches, callbacks):
        rows = self.job.rows_of(batches)
        self.model.fit(self.job.x[rows], self.job.y[rows], batch_size=self.job.batch, epochs=1, shuffle=False,
                       verbose=0, callbacks=callbacks)

    def prove(self, batches, evaluate):
        self.restart()
        if batches:
            self.fit(batches, [])
        rows = self.job.rows_of([evaluate])
        return self.model.evaluate(self.job.x[rows], self.job.y[rows], batch_size=self.job.batch, verbose=0)

    def run(self, batches, warm):
        watch = Stopwatch(warm)
        self.fit(batches, [watch])
        return watch.stop - watch.start

    def close(self):
        self.model = self.dense = None
        keras.backend.clear_session()
