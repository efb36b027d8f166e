"""The pages of reports in a real browser: they load, and read well on both widths and in both schemes."""

import itertools
from pathlib import Path

import pytest
from helpers.report_data import HOSTILE, make_faults, make_figures, make_results

from posecore.config import get_cfg
from posecore.data.datasets import register_definitions
from posecore.evaluation.dataset_check import check_dataset
from posecore.reports.dataset_page import write_dataset_page
from posecore.reports.results_page import write_results_report
from posecore.reports.samples_page import write_samples_page

pytestmark = pytest.mark.browser

PAGES = ("results", "comparison", "dataset", "samples")


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of results, alone and beside others, of a dataset with mistakes, and of training samples."""
    folder = tmp_path_factory.mktemp("pages")
    files = {name: folder / f"{name}.html" for name in PAGES}
    faults, split = make_faults(folder / "faults")
    (name,) = register_definitions([faults])
    write_dataset_page(name, check_dataset(name, others=register_definitions([split])), files["dataset"])
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TRAIN", (name,), "INPUT.MIN_SIZE_TRAIN", (96,)])
    (folder / "faults" / "train" / "000005.jpg").write_bytes(
        (folder / "faults" / "train" / "000006.jpg").read_bytes()
    )
    write_samples_page(cfg, files["samples"], count=30)
    definition = make_figures(folder, num_images=16, size=(120, 160), people=(1, 4))
    ours = make_results(definition, folder / "ours" / "coco_instances_results.json")
    theirs = make_results(definition, folder / "theirs" / "coco_instances_results.json", quality=0.5, seed=1)
    write_results_report(ours, str(definition), files["results"], draws=20)
    write_results_report(ours, str(definition), files["comparison"], against=theirs, draws=20, gallery=40)
    return files


def count(page, gallery: str) -> int:
    return page.locator(f"[data-gallery={gallery}] .item").count()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), list(itertools.product((1280, 390), ("light", "dark"))))
def test_every_image_loads_and_nothing_overflows(show, pages, name, width, scheme):
    page = show(pages[name], width, scheme)
    page.wait_for_function(
        "document.images.length > 0 && [...document.images].every((image) => image.complete)"
    )
    assert page.evaluate("[...document.images].filter((image) => !image.naturalWidth).length") == 0
    assert page.evaluate("[...document.images].filter((image) => !image.alt).length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # No image and no card is wider than the page, or squeezed to nothing.
    boxes = page.evaluate(
        "[...document.querySelectorAll('.frame-box')].map((box) => box.getBoundingClientRect().toJSON())"
    )
    assert all(box["width"] > 20 and box["height"] > 20 and box["right"] <= width for box in boxes)
    # Tables may be longer than their place, not wider.
    wider = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
    assert page.evaluate(f"{wider}.length") == 0


CONTRAST = """() => {
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = rgb(getComputedStyle(node).backgroundColor);
      if (color[3] > 200) return color;
    }
    return [255, 255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll("main *, footer")) {
    if (node.closest("svg") || !node.offsetParent) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(show, pages, name, scheme):
    assert show(pages[name], 1280, scheme).evaluate(CONTRAST) == []


def test_the_button_changes_the_scheme(show, pages):
    page = show(pages["results"], 1280, "light")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != before
    page.locator("#theme").click()
    assert page.evaluate(ground) == before


def test_the_gallerys_filters(show, pages):
    page = show(pages["comparison"])
    section = page.locator("[data-gallery=items]")
    everybody = page.evaluate("data.items.length")
    assert count(page, "items") == min(everybody, 24)
    section.locator("[data-filter=low]").fill("0.5")
    section.locator("[data-filter=high]").fill("0.9")
    expected = page.evaluate("data.items.filter((item) => item.oks >= 0.5 && item.oks <= 0.9).length")
    assert 0 < count(page, "items") == min(expected, 24) < everybody
    assert f"{expected} of {everybody}" in section.locator(".count").inner_text()
    section.locator("[data-reset]").click()
    assert count(page, "items") == min(everybody, 24)
    section.locator("[data-filter=kind]").select_option("missed")
    missed = page.evaluate("data.items.filter((item) => item.kind === 'missed').length")
    assert count(page, "items") == missed > 0
    section.locator("[data-reset]").click()
    section.locator("[data-filter=keypoint]").select_option("9")
    section.locator("[data-filter=error]").select_option("inversion")
    inverted = page.evaluate("data.items.filter((item) => item.kinds && item.kinds[9] === 2).length")
    assert count(page, "items") == inverted > 0
    section.locator("[data-reset]").click()
    size = page.evaluate("data.items[0].size")
    section.locator("[data-filter=size]").select_option(size)
    assert count(page, "items") == min(
        page.evaluate(f"data.items.filter((i) => i.size === '{size}').length"), 24
    )
    section.locator("[data-reset]").click()
    section.locator("[data-filter=text]").fill("ALERT(")
    names = section.locator(".item b").all_inner_texts()
    assert names
    assert set(names) == {HOSTILE.replace("/", "\u2215")}
    section.locator("[data-filter=text]").fill("no such image")
    assert count(page, "items") == 0
    assert section.locator(".empty").is_visible()


def test_the_gallerys_order_and_its_pages(show, pages):
    page = show(pages["comparison"])
    section = page.locator("[data-gallery=items]")
    section.locator("[data-filter=sort]").select_option("best")
    values = [float(text.split()[1]) for text in section.locator(".item .strong").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    everybody = page.evaluate("data.items.length")
    assert everybody > 24
    section.locator(".more").click()
    assert count(page, "items") == everybody
    assert not section.locator(".more").is_visible()


def test_a_column_of_the_chart_filters(show, pages):
    page = show(pages["results"])
    column = page.locator("g[data-low]").last
    column.focus()
    page.keyboard.press("Enter")
    section = page.locator("[data-gallery=items]")
    assert section.locator("[data-filter=low]").input_value() == column.get_attribute("data-low")
    values = [float(text.split()[1]) for text in section.locator(".item .strong").all_inner_texts()]
    assert all(value >= 0.9 for value in values)


def test_images_of_two_runs(show, pages):
    page = show(pages["comparison"])
    section = page.locator("[data-gallery=images]")
    section.locator("[data-filter=direction]").select_option("-1")
    assert all(text.startswith("\u2212") for text in section.locator(".badge.down").all_inner_texts())
    assert count(page, "images") == page.evaluate("data.images.filter((item) => item.difference < 0).length")
    assert section.locator(".item").first.locator("figure").count() == 3


def transform(page) -> list[float]:
    """Scale, and the shift in x and y."""
    return page.evaluate(
        "(() => { const moved = getComputedStyle(document.querySelector('#zoom .moved'));"
        " const m = new DOMMatrix(moved.transform); return [m.a, m.e, m.f]; })()"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_zoom_by_keyboard(show, pages, width):
    page = show(pages["results"], width)
    item = page.locator("[data-gallery=items] .item").first
    item.focus()
    page.keyboard.press("Enter")
    assert page.locator("#zoom").is_visible()
    name = page.locator("#zoom header b").inner_text()
    assert name == item.locator("b").inner_text()
    start = transform(page)
    page.keyboard.press("+")
    assert transform(page)[0] > start[0]
    page.keyboard.press("ArrowRight")
    assert transform(page)[1] < start[1]
    page.keyboard.press("0")
    assert transform(page) == pytest.approx(start)
    page.keyboard.press("n")
    page.keyboard.press("n")
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert page.locator("#zoom header b").inner_text() == name
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()


def test_zoom_by_mouse(show, pages):
    page = show(pages["results"])
    page.locator("[data-gallery=items] .item").first.click()
    start = transform(page)
    box = page.locator("#zoom .stage").bounding_box()
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_function("document.querySelector('#zoom .level').textContent !== '100 %'")
    scale, left, top = transform(page)
    assert scale > 1.2 * start[0]
    # The point under the pointer stays where it is.
    for place, before, after, edge in ((x, start[1], left, box["x"]), (y, start[2], top, box["y"])):
        assert (place - edge - after) / scale == pytest.approx(place - edge - before, abs=1)
    page.mouse.down()
    page.mouse.move(x + 50, y + 20)
    page.mouse.up()
    assert transform(page)[1:] == pytest.approx([left + 50, top + 20], abs=1)
    page.locator("#zoom [data-act=reset]").click()
    assert transform(page) == pytest.approx(start)
    boxes = page.locator("#zoom .under input[type=checkbox]")
    assert boxes.count() == 2
    layer = page.locator("#zoom g[data-part=gt]")
    assert layer.is_visible()
    boxes.first.uncheck()
    assert not layer.is_visible()
    page.locator("#zoom [data-act=close]").click()
    assert not page.locator("#zoom").is_visible()


def test_findings_and_their_images(show, pages):
    page = show(pages["dataset"])
    findings = page.locator(".finding")
    assert findings.count() == page.evaluate("Object.keys(data).length - 1") == 5
    swapped = page.locator(".finding", has_text="a left and a right keypoint")
    assert swapped.locator("svg .wrong").count() == 2
    shared = page.locator(".finding", has_text="near duplicate")
    assert shared.locator(".item").count() == 2
    assert shared.locator(".item").first.locator("img").count() == 2
    shared.locator(".item").first.click()
    assert page.locator("#zoom").is_visible()


def test_the_filter_of_samples(show, pages):
    page = show(pages["samples"], 390)
    everybody = page.evaluate("data.samples.length")
    section = page.locator("[data-gallery=samples]")
    section.locator("[data-filter=text]").fill("000002")
    assert 0 < count(page, "samples") < everybody
    assert set(section.locator(".item b").all_inner_texts()) == {"000002.jpg"}
    section.locator("[data-filter=text]").fill("")
    section.locator("[data-filter=kind]").select_option("nobody")
    assert count(page, "samples") == page.evaluate("data.samples.filter((item) => !item.marks.length).length")
