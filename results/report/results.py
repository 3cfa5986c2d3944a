"""Results files as numpy arrays, for the figures. Absent stays NaN or empty, never 0."""

import collections
import json

import h5py
import numpy as np

ABSENT = -9223372036854775806
LEVELS = ("L1", "L2", "L3")
# Columns of /runs that follow from the meters' readings begin so.
ENERGY_COLUMNS = ("energy_", "step_energy_", "power_w_", "idle_power_w_")


class NotHere(Exception):
    """A figure has nothing to show; the text says what is missing and how to record it."""


class Table:
    """Columns by name; a column that no file has is all absent."""

    def __init__(self, rows, columns):
        self.rows = rows
        self._columns = columns

    def __len__(self):
        return self.rows

    def has(self, name):
        return name in self._columns

    def number(self, name):
        values = self._columns.get(name)
        if values is None or values.dtype == object:
            return np.full(self.rows, np.nan)
        return values

    def text(self, name):
        values = self._columns.get(name)
        if values is None or values.dtype != object:
            return np.full(self.rows, "", dtype=object)
        return values

    def derive(self):
        """Columns that other_parameters holds, and what follows from them, for the probes."""
        used, loads = np.full(self.rows, np.nan), np.full(self.rows, np.nan)
        steps = self.number("step_s")
        for i, text in enumerate(self.text("other_parameters")):
            more = json.loads(text) if text else {}
            used[i] = more.get("working_set_bytes", np.nan)
            loads[i] = steps[i] / more.get("loads_per_step", np.nan)
        given = self.number("bytes")
        self._columns["working_set_bytes_used"] = np.where(np.isfinite(given), given, used)
        self._columns["load_s"] = loads

    def where(self, mask):
        return Table(int(np.count_nonzero(mask)), {name: values[mask] for name, values in self._columns.items()})


def _read_column(dataset):
    if h5py.check_string_dtype(dataset.dtype):
        return np.array([value.decode("utf-8", "replace") for value in dataset[:]], dtype=object)
    values = dataset[:].astype(float)
    if dataset.dtype.kind == "i":
        values[dataset[:] == ABSENT] = np.nan
    return values


def _join(parts):
    rows = sum(part.rows for part in parts)
    names = dict.fromkeys(name for part in parts for name in part._columns)
    columns = {}
    for name in names:
        text = any(name in part._columns and part._columns[name].dtype == object for part in parts)
        columns[name] = np.concatenate(
            [part.text(name) if text else part.number(name) for part in parts] or [np.zeros(0)]
        )
    return Table(rows, columns)


class Results:
    """Several files as one: row numbers of references are moved along."""

    TABLES = ("runs", "machine", "meters", "samples", "curves", "energies", "model", "model_tests", "model_predictions")
    REFERENCES = {"machine_row": "machine", "meter_row": "meters", "run_row": "runs"}

    def __init__(self, paths, flagged_energies=False):
        self.paths = list(paths)
        parts = {name: [] for name in self.TABLES}
        base = collections.Counter()
        for path in self.paths:
            with h5py.File(path, "r") as file:
                if "mlpwatt_schema" not in file.attrs:
                    raise SystemExit(f"{path}: not a results file of mlpwatt (attribute mlpwatt_schema is missing)")
                tables = {}
                for name in self.TABLES:
                    group = file.get(name)
                    columns = {} if group is None else {key: _read_column(group[key]) for key in group}
                    rows = len(next(iter(columns.values()))) if columns else 0
                    for column, target in self.REFERENCES.items():
                        if column in columns:
                            columns[column] = columns[column] + base[target]
                    columns["file"] = np.full(rows, path, dtype=object)
                    tables[name] = Table(rows, columns)
                for name in self.TABLES:
                    parts[name].append(tables[name])
                    base[name] += tables[name].rows
        for name in self.TABLES:
            setattr(self, name, _join(parts[name]))
        self.energies_left_out = 0 if flagged_energies else self._leave_out_flagged_energies()
        self._merge_machines()

    def _leave_out_flagged_energies(self):
        """Flagged energies (under_sampled, stuck ...) become absent in /runs. Returns how many runs had one."""
        def flags(name):
            quality = self.runs.text(name)
            return (quality != "") & (quality != "ok")

        flagged, idle_flagged = flags("energy_quality"), flags("energy_above_idle_quality")
        had = np.zeros(len(self.runs), dtype=bool)
        for name, values in self.runs._columns.items():
            if name.startswith(ENERGY_COLUMNS) and values.dtype != object:
                had |= flagged & np.isfinite(values)
                values[flagged | (idle_flagged if "idle" in name else False)] = np.nan
        return int(np.count_nonzero(had & (self.runs.text("status") == "ok")))

    def _merge_machines(self):
        """The same machine described twice (its memory or governor changed) counts once."""
        keys = list(zip(self.machine.text("host"), self.machine.text("processor"), self.machine.number("cores"),
                        self.machine.number("l2_bytes"), self.machine.number("l3_bytes")))
        keys = [tuple("" if value != value else value for value in key) for key in keys]
        self.first_machine = [keys.index(key) for key in keys]
        self.machines = sorted(set(self.first_machine))

    def machine_of(self, rows):
        """For each row of a table with machine_row, the machine's first description."""
        numbers = rows.number("machine_row")
        return np.array([self.first_machine[int(n)] if n == n and int(n) < len(self.first_machine) else -1
                         for n in numbers], dtype=int)

    def ok(self):
        runs = self.runs.where(self.runs.text("status") == "ok")
        runs.derive()
        return runs

    def training(self):
        """Training steps that ran; not the twins, which are slow on purpose, nor a GPU's reduced precision, which trains
        another network."""
        runs = self.ok()
        left_out = ("twin", "graph_tf32", "graph_bf16")
        plain = [family.endswith("mlp_train") and not algorithm.startswith(left_out)
                 for family, algorithm in zip(runs.text("family"), runs.text("algorithm"))]
        return runs.where(np.array(plain, dtype=bool) & (runs.number("step_s") > 0))

    def family(self, name, backend="cpu"):
        """Runs of BACKEND/NAME; of a device's shared memory, which is none of its caches, none."""
        runs = self.ok()
        cached = np.array([not each.endswith("/shared") for each in runs.text("name")], dtype=bool)
        return runs.where((runs.text("family") == f"{backend}/{name}") & (runs.text("backend") == backend) & cached)

    def machine_name(self, row, backend="cpu"):
        if row < 0 or row >= len(self.machine):
            return "unknown machine"
        device = "" if backend == "cpu" else self.device_of(row, backend)["name"]
        return f"{self.machine.text('host')[row]}, {device or self.machine.text('processor')[row]}"

    def device_of(self, row, backend):
        """{name, units, L1, L2} as the first run of a machine's backend that describes its device has them; NaN and ""
        where none does."""
        its = (self.machine_of(self.runs) == row) & (self.runs.text("backend") == backend)
        described = its & np.isfinite(self.runs.number("device_l2_bytes"))
        first = np.flatnonzero(described if described.any() else its)[:1]
        if not len(first):
            return {"name": "", "units": np.nan, "L1": np.nan, "L2": np.nan}
        return {"name": self.runs.text("device")[first[0]],
                "units": self.runs.number("device_multiprocessors")[first[0]],
                "L1": self.runs.number("device_l1_bytes")[first[0]], "L2": self.runs.number("device_l2_bytes")[first[0]]}

    def groups(self, rows, values=None):
        """([(machine, backend, mask, label)], note): what a figure must not pool. The label names as much as is
        needed to tell them apart; a group without a finite value is only in the note, for the caption, as is the
        number of single rows without one."""
        machine, backends = self.machine_of(rows), rows.text("backend")
        found, without, single = [], [], 0
        for row in sorted(set(machine)):
            for backend in sorted(set(backends[machine == row])):
                mine = (machine == row) & (backends == backend)
                label = backend if len(self.machines) < 2 else f"{backend}, {self.machine_name(row, backend)}"
                if values is not None and not np.any(np.isfinite(values[mine])):
                    without.append(label)
                else:
                    found.append((row, backend, mine, label))
                    single += 0 if values is None else int(np.count_nonzero(~np.isfinite(values[mine])))
        if single:
            without.append(f"{single} single run(s)")
        return found, f" Not shown, for want of such a value: {'; '.join(without)}." if without else ""

    def cheapest_ways(self, runs, datum):
        """(runs, datum, note): of a network that was recorded in several ways (algorithm, threads, instruction set, batch) the
        one whose median datum costs least, with all its repetitions; the others would be scatter that no network has."""
        def column(name):
            return runs.text(name) if runs.text(name).any() else runs.number(name)

        ways = {}
        networks = [self.machine_of(runs), runs.text("backend"), runs.text("dataset"), runs.text("shape"),
                    runs.number("size"), runs.number("depth")]
        kinds = [column(name) for name in ("algorithm", "threads", "isa", "batch")]
        for i in range(len(runs)):
            network = tuple(values[i] for values in networks)
            way = tuple("" if kind[i] != kind[i] else kind[i] for kind in kinds)
            ways.setdefault(network, {}).setdefault(way, []).append(i)
        keep, several = np.zeros(len(runs), dtype=bool), 0
        for found in ways.values():
            several += len(found) > 1
            medians = {way: np.nanmedian(datum[rows]) if np.any(np.isfinite(datum[rows])) else np.inf
                       for way, rows in found.items()}
            keep[found[min(medians, key=medians.get)]] = True
        note = (f" {several} network(s) were recorded in several ways (algorithm, threads, batch): the cheapest way of each counts."
                if several else "")
        return runs.where(keep), datum[keep], note

    def swept(self, row, backend, threads):
        """[(level, bytes)] that a sweep by so many neighbouring threads, or by a whole device, has of each level."""
        levels = self.levels_of(row, backend)
        units = threads if backend == "cpu" else max((shared for _, _, shared in levels), default=1)
        return [(level, capacity * max(1, int(units // max(1, shared)))) for level, capacity, shared in levels]

    def levels_of(self, row, backend):
        """The capacities that a backend's working sets meet: a host's caches are none of its GPU's, which the rows
        of its runs describe. (The study's imported GPU nodes are described by the device's own.)"""
        if row < 0:
            return []
        if backend == "cpu" or self.machine.text("hierarchy_source")[row].startswith("published"):
            return self.capacities(row)
        device = self.device_of(row, backend)
        return [(level, device[level], shared) for level, shared in (("L1", 1), ("L2", device["units"]))
                if np.isfinite(device[level])]

    def capacities(self, row):
        """[(level, bytes, cores behind one)] of a machine, nearest first."""
        found = []
        for level in LEVELS:
            capacity = self.machine.number(f"{level.lower()}_bytes")[row]
            shared = self.machine.number(f"{level.lower()}_shared_by")[row]
            if capacity == capacity:
                found.append((level, float(capacity), int(shared) if shared == shared else 1))
        return found


# Rows of the study's datasets (STUDY's table; kernels/dataset.cpp has the same).
DATASET_ROWS = {
    "201_pol": 15000, "529_pollen": 3848, "537_houses": 20640, "connect_4": 67557, "mnist": 70000, "sleep": 105908,
    "wine_quality_white": 4898, "adult": 48842, "nursery": 12958, "splice": 3188, "294_satellite_image": 6435,
    "banana": 5300, "505_tecator": 240,
}


def training_rows(runs):
    """Rows of the training split."""
    rows = np.array([DATASET_ROWS.get(name, np.nan) for name in runs.text("dataset")], dtype=float)
    return rows - np.floor((2 * rows + 5) / 10)


def rows_per_step(runs):
    """Training rows of an average step: the last batch of an epoch is a partial one."""
    rows, batch = training_rows(runs), runs.number("batch")
    batch = np.fmin(np.where(np.isfinite(batch), batch, 256), rows)
    return rows / np.ceil(rows / batch)


def parameters(runs):
    """Trainable parameters: working set f is four bytes each."""
    return runs.number("working_set_f_bytes") / 4


def cost_per_datum(runs):
    """(values, unit, provenance), per training datum: joules where half of the runs or more have them from one
    source, else the seconds that all have. A few metered runs do not hide the others."""
    for provenance in ("measured", "modelled"):
        energy = runs.number(f"step_energy_j_{provenance}")
        if np.any(energy > 0) and 2 * np.count_nonzero(energy > 0) >= np.count_nonzero(runs.number("step_s") > 0):
            return energy / rows_per_step(runs), "J", provenance
    return runs.number("step_s") / rows_per_step(runs), "s", "measured"
