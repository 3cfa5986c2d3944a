"""One self-contained page from results files, and every figure as SVG and PNG beside it.

    /usr/bin/python3 report.py OUT.html [--figures FOLDER] [--advice JSON] [--only NAME] FILE...

Figures are found, not listed: each results/figures/NAME.py has ORDER, TITLE and draw(results), which returns
(figure, caption, provenance) or raises NotHere(reason). `mlpwatt report` runs this file.
"""

import argparse
import base64
import hashlib
import html
import importlib.util
import io
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from results import NotHere, Results  # noqa: E402
import style  # noqa: E402
import page  # noqa: E402


def find_figures(folder):
    """Every figure file as a module, in the order they ask for."""
    modules = []
    for path in sorted(pathlib.Path(folder).glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"figure_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.NAME = path.stem
        modules.append(module)
    return sorted(modules, key=lambda module: module.ORDER)


def stamp(figure, provenance, sources):
    """What a figure that travels alone must still say."""
    figure.text(0.995, -0.005, f"{provenance} · {sources}", ha="right", va="top", fontsize=7, color="#666666")


def render(figure, folder, name):
    images = {}
    for kind in ("svg", "png") if folder else ("svg",):
        out = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(out, format=kind, metadata=metadata, dpi=150)
        images[kind] = out.getvalue()
        if folder:
            (pathlib.Path(folder) / f"{name}.{kind}").write_bytes(images[kind])
    style.plt.close(figure)
    return images


def main(argv):
    parser = argparse.ArgumentParser(prog="mlpwatt report")
    parser.add_argument("out")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--figures", help="folder for the SVG and PNG files")
    parser.add_argument("--advice", help="JSON: what the files' models advise")
    parser.add_argument("--only", action="append", help="a figure's name; may be given again")
    parser.add_argument("--json", action="store_true", help="say what was drawn as one JSON object")
    parser.add_argument("--flagged-energies", action="store_true",
                        help="show energies with quality flags as well")
    options = parser.parse_args(argv)
    for path in options.files:
        if not os.path.exists(path):
            raise SystemExit(f"{path}: no such file")
    try:
        results = Results(options.files, options.flagged_energies)
    except OSError as error:
        raise SystemExit(f"cannot read: {error}") from None
    if options.figures:
        os.makedirs(options.figures, exist_ok=True)
    modules = find_figures(HERE.parent / "figures")
    if options.only:
        unknown = set(options.only) - {module.NAME for module in modules}
        if unknown:
            raise SystemExit(f"no figure {', '.join(sorted(unknown))}; there are: "
                             + ", ".join(module.NAME for module in modules))
        modules = [module for module in modules if module.NAME in options.only]
    sources = ", ".join(f"{os.path.basename(path)} sha256:{hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:12]}"
                        for path in options.files)
    sections, without = [], {}
    for module in modules:
        try:
            figure, caption, provenance = module.draw(results)
        except NotHere as reason:
            sections.append(page.missing(module.NAME, module.TITLE, str(reason)))
            without[module.NAME] = str(reason)
            continue
        stamp(figure, provenance, sources)
        images = render(figure, options.figures, module.NAME)
        data = base64.b64encode(images["svg"]).decode()
        sections.append(page.figure(module.NAME, module.TITLE, caption, provenance, data))
    advice = json.loads(pathlib.Path(options.advice).read_text(encoding="utf-8")) if options.advice else []
    text = page.page(results, sections, sources, advice)
    temporary = pathlib.Path(options.out).with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, options.out)
    drawn = [module.NAME for module in modules if module.NAME not in without]
    if options.json:
        print(json.dumps({"page": options.out, "figures": drawn, "without_data": without}, indent=2))
        return
    print(f"{options.out}: {len(drawn)} figures, {len(without)} without data"
          + (f"; SVG and PNG in {options.figures}" if options.figures else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
