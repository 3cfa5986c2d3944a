"""Says what is wrong with a report page: prints one line a fault, exits 1 when there is any.

    check_page.py PAGE FIGURES_FOLDER [--drawn NAME ...]     NAME: a figure that must be drawn, not excused
"""

import argparse
import base64
import html.parser
import pathlib
import sys
import xml.etree.ElementTree as xml

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.faults, self.open, self.sections, self.links, self.ids = [], [], {}, [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.ids.add(attributes.get("id"))
        if tag == "script":
            self.faults.append("the page has a script")
        if tag == "section":
            self.section = self.sections.setdefault(attributes.get("id"), {"images": [], "missing": False})
        if tag == "img":
            self.section["images"].append(attributes.get("src", ""))
            if not attributes.get("alt"):
                self.faults.append("an image without alt text")
        if tag == "p" and attributes.get("class") == "missing":
            self.section["missing"] = True
        for name in ("src", "href"):
            value = attributes.get(name, "")
            if value.startswith("#"):
                self.links.append(value[1:])
            elif value and not value.startswith("data:"):
                self.faults.append(f"<{tag}> loads {value[:60]}: the page is not self-contained")

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes <{self.open[-1] if self.open else 'nothing'}>")
        else:
            self.open.pop()


def svg_fault(source):
    prefix = "data:image/svg+xml;base64,"
    if not source.startswith(prefix):
        return f"image is {source[:30]}, not SVG in the page"
    try:
        root = xml.fromstring(base64.b64decode(source[len(prefix):], validate=True))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is the finding
        return f"SVG does not parse: {error}"
    if not root.tag.endswith("svg"):
        return f"root is {root.tag}"
    if sum(1 for element in root.iter() if element.tag.endswith("path")) < 5:
        return "SVG is all but empty"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page")
    parser.add_argument("figures")
    parser.add_argument("--drawn", nargs="*", default=[])
    options = parser.parse_args()
    page = Page()
    page.feed(pathlib.Path(options.page).read_text(encoding="utf-8"))
    page.close()
    faults = page.faults + [f"<{tag}> is never closed" for tag in page.open]
    names = sorted(path.stem for path in pathlib.Path(options.figures).glob("*.py"))
    if len(names) < 5:
        faults.append(f"only {len(names)} figure files found in {options.figures}")
    for name in names:
        section = page.sections.get(name)
        if section is None:
            faults.append(f"figure {name} is not on the page")
        elif not section["images"] and not section["missing"]:
            faults.append(f"figure {name} has neither an image nor a reason")
    for name in options.drawn:
        if not page.sections.get(name, {"images": []})["images"]:
            faults.append(f"figure {name} should be drawn and is not")
    for name, section in page.sections.items():
        faults += [f"figure {name}: {fault}" for fault in map(svg_fault, section["images"]) if fault]
    faults += [f"link #{link} leads nowhere" for link in page.links if link not in page.ids]
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
