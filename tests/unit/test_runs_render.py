"""The fallbacks of a comparison: readable without script, safe whatever a run is called, the same facts in each."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import nbformat
import orjson
import pytest
from nbconvert import HTMLExporter

from mlops_lab import wire
from mlops_lab.runs import figure, render, words
from mlops_lab.runs.model import Comparison, Curve, RunPage, Series
from tests.unit.comparisons import comparison, data, role, row

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"' $\\frac{1}{0}$ {{ 7*7 }}"


def two(name: str = "corrected") -> Comparison:
    roles = {"test": role("e", 24, 6)}
    a = row("baseline", data("brain", "v1.0.0", "aaaa1111.dir", roles), params={"lr": "0.1", "net": "UNet"})
    b = row(name, data("brain", "v2.0.0", "bbbb2222.dir", roles), params={"lr": "0.2", "net": "UNet"})
    a.metrics = {"test_dice": 0.5, "hd95": "Infinity"}
    b.metrics = {"test_dice": 0.75, "hd95": "NaN"}
    curve = Curve(
        "loss", [Series("id-baseline", [1, 2, 3], [1.0, "NaN", 0.5]), Series(f"id-{name}", [1, 2], [0.9, "Infinity"])]
    )
    return comparison([a, b], [curve])


class Reader(HTMLParser):
    """Collects the elements and the text of a fragment, and holds that every element is closed."""

    VOID = ("br", "img", "meta", "link", "line", "circle", "path", "polyline", "col", "input")

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_says_what_the_document_says():
    read = Reader(render.to_html(two()))
    assert read.open == []
    for said in (
        "Same test data",
        "Both runs were given the same test data: 24 files of 6 subjects.",
        "A · baseline",
        "B · corrected",
        "v1.0.0 (aaaa1111)",
        "0.75",
        "+0.25",
        "∞",
        "NaN",
        "One run each",
        "2 settings that are the same",
    ):
        assert said in read.text


def test_the_html_needs_no_script_and_loads_nothing():
    html = render.to_html(two(), page=True)
    read = Reader(html)
    assert not {"script", "iframe", "link", "object", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert "url(" not in html


def test_names_and_values_cannot_break_out_of_the_html():
    document = two(EVIL)
    document.params[0].values[0] = EVIL
    document.notes.append(EVIL)
    document.curves[0].metric = EVIL
    read = Reader(render.to_html(document))
    assert not {"script", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.text.count("alert('x')") >= 4
    assert "{{ 7*7 }}" in read.text


def test_a_link_that_is_no_web_address_is_not_followed():
    document = two()
    document.runs[0].link = "javascript:alert(1)"
    assert ("href", "#") in Reader(render.to_html(document)).attributes
    assert "javascript:" not in render.to_html(document)


def test_a_list_of_runs_cannot_break_out_either():
    page = RunPage(runs=[row(EVIL, metrics={"<b>": 1.0})], next_page_token="more")
    read = Reader(render.page_html(page))
    assert not {"script", "img", "b"} & set(read.tags)
    assert "There are more runs" in read.text
    assert "No runs." in Reader(render.page_html(RunPage(runs=[]))).text


def test_runs_are_never_told_apart_by_colour_alone():
    styles = figure.styles(20)
    assert len({(style.colour, style.dash) for style in styles}) == 20
    assert len({style.letter for style in styles}) == 20
    assert all(a.dash != b.dash for a, b in pairwise(styles))
    html = render.to_html(two())
    assert all(f">{letter}</text>" in html for letter in "AB"), "each line carries its letter"


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_line_colours_are_seen_on_light_and_dark(ground: str):
    assert min(contrast(colour, ground) for colour in figure.COLOURS) >= 3.0


def test_no_line_is_drawn_across_a_value_that_is_no_number():
    panel = figure.panels(two())[0]
    first, second = panel.lines
    assert first.pieces == [], "1.0, NaN, 0.5 are two separate points"
    assert len(first.marks) == 2
    assert len(first.broken) == len(second.broken) == 1
    assert "not a finite number" in render.to_html(two())


@pytest.mark.parametrize(
    "values", [[1.7e308, -1.7e308], [5.0, 5.0], [0.0, 0.0], ["NaN", "NaN"], [1e-300, 2e-300], ["Infinity", 1.0]]
)
def test_every_curve_can_be_drawn(values: list[wire.Number]):
    document = comparison([row("a"), row("b")], [Curve("m", [Series("id-a", [0, 2**40], values)])])
    html = render.to_html(document)
    assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', html)
    assert render.to_png(document).startswith(b"\x89PNG")


def test_ticks_are_round_and_lie_on_the_axis():
    assert figure.ticks(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert figure.ticks(0.0, 97.0) == [0.0, 25.0, 50.0, 75.0]
    assert all(-3.2 <= tick <= 8.9 for tick in figure.ticks(-3.2, 8.9))


def test_letters_go_on_after_z():
    assert [figure.letter(i) for i in (0, 25, 26, 51, 52)] == ["A", "Z", "AA", "AZ", "BA"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, figure.MISSING), ("NaN", "NaN"), ("-Infinity", "-∞"), (12.0, "12"), (0.123456, "0.1235"), (-0.0, "0")],
)
def test_numbers_are_shown_for_people(value: wire.Number | None, shown: str):
    assert figure.show(value) == shown


def test_the_text_is_a_table_that_stays_in_its_lines():
    document = two()
    document.params[0].values[0] = "line\nbreak\tand " + "x" * 300
    text = render.to_text(document)
    assert "✓ Same test data: Both runs were given the same test data: 24 files of 6 subjects." in text
    assert re.search(r"^test_dice +0\.5 +0\.75$", text, re.MULTILINE)
    assert max(map(len, text.splitlines()[5:20])) < 140


def test_the_picture_is_a_png_even_with_names_that_look_like_formulas():
    assert render.to_png(two("$\\frac{$ \\unknown {{")).startswith(b"\x89PNG")


def test_the_bundle_is_plain_json_and_reads_back_as_the_document():
    document = two()
    bundle = render.mimebundle(document)
    assert set(bundle) == {render.MIME, "text/html", "text/plain", "image/png"}
    sent = orjson.loads(orjson.dumps(bundle))
    assert sent == bundle, "nothing in it is lost by JSON"
    assert msgspec.convert(sent[render.MIME], Comparison) == document
    assert document._repr_mimebundle_().keys() == bundle.keys()


def test_a_saved_notebook_shows_the_comparison_without_a_kernel():
    output = nbformat.v4.new_output("display_data", data=render.mimebundle(two()))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%mlops_compare a b", outputs=[output])])
    nbformat.validate(notebook)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "Both runs were given the same test data: 24 files of 6 subjects." in page


def test_thirty_params_and_ten_runs_render():
    runs = [row(f"r{i}", params={f"p{k}": str(i * k) for k in range(30)}, metrics={"m": float(i)}) for i in range(10)]
    document = comparison(runs)
    assert Reader(render.to_html(document)).open == []
    assert render.to_png(document).startswith(b"\x89PNG")


def test_the_html_of_ten_thousand_metrics_stays_small_and_says_what_is_left_out():
    metrics = {f"m{k}": float(k) for k in range(10_000)}
    params = {f"same{k}": "1" for k in range(render.MAX_ROWS)}
    runs = [row(f"r{i}", params=params | {f"p{k}": str(i) for k in range(300)}, metrics=metrics) for i in range(2)]
    html = render.to_html(comparison(runs))
    assert len(html) < 1_000_000
    page = Reader(html)
    assert page.open == []
    assert "9800 more metrics; they are on the runs' MLflow pages." in page.text
    assert "100 more settings that differ; they are on the runs' MLflow pages." in page.text
    assert "201 settings that are the same" in page.text
    assert "1 more setting; it is on the runs' MLflow pages." in page.text


def test_a_comparison_that_fits_leaves_nothing_out():
    assert "MLflow pages" not in render.to_html(two())


STEERING = "good\x1b[2J\x1b]0;title\x07\x9b31m\r\nnew line\u2028\u202egnp.exe\ud800"


def test_a_name_cannot_steer_the_terminal():
    text = render.to_text(two(STEERING)) + render.page_text(RunPage(runs=[row(STEERING)]))
    assert "good\\x1b[2J" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", text)
    assert len(render.page_text(RunPage(runs=[row(STEERING)])).splitlines()) == 2


def test_names_of_every_script_are_left_alone():
    name = "Jürgen 模型 שלום\N{ZERO WIDTH JOINER}"
    assert words.terminal_safe(name) == name


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two colours."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
