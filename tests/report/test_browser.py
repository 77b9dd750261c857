"""The report as a person meets it: real pages from file://, real clicks and keys, a real player."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from s5cli.cli import exit_code
from s5cli.labels import CLASSES
from s5cli.report.collect import read_run
from s5cli.report.flags import flags_of
from s5cli.report.listing import Outcome
from s5cli.report.write import Report, page_keys, write_list, write_report
from tests.report.conftest import EXAMPLES

LONGEST_WAIT_S = 20
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text of any size
CLIP = "clapping_two_speakers"

CONTRASTS = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const ground = (element) => { for (let at = element; at; at = at.parentElement) {
  const colour = rgba(getComputedStyle(at).backgroundColor); if (colour[3] === 255) return colour; }
  return [255, 255, 255]; };
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || !element.checkVisibility()) continue;
  if (element.closest("[aria-disabled]")) continue;
  const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))];
  found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), walk.currentNode.textContent.trim()]);
}
return found;
"""


# --- helpers ----------------------------------------------------------------------------------------------------------


def go(browser, report: Path, page: str = "index.html") -> None:
    browser.get((report / page).as_uri())
    wait(browser, "document.readyState === 'complete' && document.getElementById('theme')")


def page_of(clip: str) -> str:
    return f"clips/{clip}/index.html"


def press(browser, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def wait(browser, condition: str, *args: object) -> object:
    """Until a JavaScript expression is true."""
    return WebDriverWait(browser, LONGEST_WAIT_S, 0.05).until(
        lambda driver: driver.execute_script(f"return {condition}", *args)
    )


def eventually(found: Callable[[], object], expected: object) -> None:
    """A busy machine may hand keys over late."""
    end_s = time.monotonic() + LONGEST_WAIT_S
    while found() != expected and time.monotonic() < end_s:
        time.sleep(0.05)
    assert found() == expected


def names(browser) -> list[str]:
    """The clips that the list shows, from above."""
    script = "return [...document.querySelectorAll('#clips tbody tr:not([hidden]) a')].map((a) => a.textContent)"
    return browser.execute_script(script)


def column(browser, name: str) -> list[float | None]:
    script = """
    const heads = [...document.querySelectorAll('#clips thead button')].map((head) => head.textContent);
    return [...document.querySelectorAll('#clips tbody tr')].map((row) => row.cells[heads.indexOf(arguments[0])])
      .map((cell) => cell.dataset.value === undefined ? null : Number(cell.dataset.value));
    """
    return browser.execute_script(script, name)


def head(browser, name: str):
    return browser.find_element(By.XPATH, f"//table[@id='clips']//th/button[text()='{name}']")


def sorting(browser, name: str) -> str:
    return head(browser, name).find_element(By.XPATH, "..").get_attribute("aria-sort")


def count(browser) -> str:
    return browser.find_element(By.ID, "count").text


def ground(browser) -> int:
    """How light the page is, 0 to 255."""
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return int(colour.split("(")[1].split(",")[0])


def asked_for(browser) -> list[str]:
    """Addresses of everything that the browser has asked for since the last look."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if address != "about:blank"]


def moments(browser) -> list[float]:
    return browser.execute_script("return [...document.querySelectorAll('audio')].map((a) => a.currentTime)")


# --- pages ------------------------------------------------------------------------------------------------------------


def test_every_page_loads_whole_and_from_the_folder_alone(browser, moved):
    pages = [moved / "index.html", *sorted(moved.glob("clips/*/index.html"))]
    assert len(pages) == 5
    for page in pages:
        browser.get(page.as_uri())
        wait(browser, "document.readyState === 'complete'")
        browser.execute_script("document.querySelectorAll('img').forEach((img) => { img.loading = 'eager'; })")
        wait(browser, "[...document.images].every((img) => img.complete && img.naturalWidth > 0)")
        wait(browser, "[...document.querySelectorAll('audio')].every((a) => a.readyState > 0)")
        loaded = asked_for(browser)
        assert sum(address.endswith((".png", ".css", ".js")) for address in loaded) >= 3
        assert all(address.startswith((moved.as_uri(), "data:")) for address in loaded), loaded
        assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1


def test_a_clip_shows_its_sounds_and_its_trace(browser, moved):
    go(browser, moved, page_of(CLIP))
    cards = [card.text.split("\n")[:3] for card in browser.find_elements(By.TAG_NAME, "figcaption")]
    titles = [card[1] for card in cards]
    record = json.loads((moved / "report.json").read_text())
    (clip,) = [clip for clip in record["clips"] if clip["name"] == CLIP]
    stems = [f"Stem {number}" for number in range(len(clip["labels"]))]
    assert titles[:2] == ["Mixture", "Stem 0"]
    assert titles[2].startswith("Reference")  # the one that it was paired with
    assert [title for title in titles if title.startswith("Stem")] == stems
    assert {title for title in titles if title.startswith("Reference")} == {f"Reference {n}" for n in range(3)}
    assert len(titles) == 1 + len(stems) + 3
    durations = "[...document.querySelectorAll('audio')].map((a) => a.duration)"
    wait(browser, f"{durations}.every((s) => s > 0)")
    assert browser.execute_script(f"return {durations}") == pytest.approx([10.0] * len(titles), abs=0.01)
    labels = browser.execute_script("return [...document.querySelectorAll('audio')].map((a) => a.ariaLabel)")
    alts = browser.execute_script("return [...document.images].map((img) => img.alt)")
    assert labels[1] == "Stem 0, Speech"
    assert alts == [f"Spectrogram of {label}" for label in labels]
    rows = browser.find_elements(By.CSS_SELECTOR, ".trace tbody tr")
    assert len(rows) > 1
    assert rows[0].text.startswith("Speech 0")
    assert rows[0].text.endswith("stem 0")
    assert "dropped: gate" in clip["flags"]
    assert any("gate: confidence" in row.text for row in rows)
    browser.find_element(By.LINK_TEXT, "stem 0").click()
    assert browser.execute_script("return document.querySelector('.track:target').id") == "stem-0"


# --- sort, filter -----------------------------------------------------------------------------------------------------


def test_clicks_sort_and_clips_without_a_score_stay_last(browser, moved):
    go(browser, moved)
    assert names(browser) == sorted(names(browser))
    assert sorting(browser, "Clip") == "ascending"
    for direction, reverse in (("ascending", False), ("descending", True)):
        head(browser, "CAPI-SDRi").click()
        values = column(browser, "CAPI-SDRi")
        assert sorting(browser, "CAPI-SDRi") == direction
        assert sorting(browser, "Clip") == "none"
        assert values[-1] is None
        assert values[:-1] == sorted(values[:-1], reverse=reverse)
        assert len(set(values)) > 2


def test_keys_alone_sort(browser, moved):
    go(browser, moved)
    for _ in range(60):
        press(browser, Keys.TAB)
        focused = browser.switch_to.active_element
        if focused.text.startswith("Confidence"):
            break
    assert focused.text.startswith("Confidence")
    outline = browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused)
    assert outline == "solid"
    press(browser, Keys.ENTER)
    press(browser, Keys.SPACE)
    eventually(lambda: sorting(browser, "Confidence"), "descending")
    values = [value for value in column(browser, "Confidence") if value is not None]
    assert values == sorted(values, reverse=True)


def clips_of(report):
    """What report.json says of each clip, by name: what the networks make of the examples may change."""
    return {clip["name"]: clip for clip in json.loads((report / "report.json").read_text())["clips"]}


def test_filters_narrow_the_list_together(browser, moved):
    clips = clips_of(moved)
    flag = next(flag for clip in clips.values() for flag in clip["flags"] if flag.startswith("dropped"))

    def shown(text="", flagged=False, label=""):
        """The clips that these filters leave."""
        classes = {name: {*clip["labels"], *clip["ref_labels"]} for name, clip in clips.items()}
        found = [name for name in clips if any(text in word.lower() for word in (name, *classes[name]))]
        found = [name for name in found if not flagged or flag in clips[name]["flags"]]
        return [name for name in found if not label or label in classes[name]]

    go(browser, moved)
    assert count(browser) == "4 clips"
    press(browser, "/", "KEYBOARD")
    eventually(lambda: names(browser), shown("keyboard"))
    assert 0 < len(shown("keyboard")) < 4
    assert count(browser) == f"{len(shown('keyboard'))} of 4 clips"
    dropped = browser.find_element(By.CSS_SELECTOR, f"[data-flag='{flag}']")
    dropped.click()
    assert dropped.get_attribute("aria-pressed") == "true"
    eventually(lambda: names(browser), shown("keyboard", flagged=True))
    Select(browser.find_element(By.ID, "class")).select_by_value("Clapping")
    eventually(lambda: names(browser), [])
    assert browser.find_element(By.ID, "none").is_displayed()
    browser.find_element(By.ID, "search").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    eventually(lambda: names(browser), shown(flagged=True, label="Clapping"))
    dropped.click()
    eventually(lambda: names(browser), shown(label="Clapping"))


def test_keys_walk_the_list_as_it_is_shown_and_lead_back_to_it(browser, moved):
    go(browser, moved)
    Select(browser.find_element(By.ID, "class")).select_by_value("Speech")
    eventually(lambda: len(names(browser)), 2)
    head(browser, "Clip").click()
    if names(browser) == sorted(names(browser)):
        head(browser, "Clip").click()
    shown = names(browser)
    assert shown == sorted(shown, reverse=True)
    press(browser, "j", "j", "k", Keys.ARROW_DOWN)
    eventually(lambda: browser.switch_to.active_element.text, shown[1])
    press(browser, Keys.ENTER)
    title = "document.title === arguments[0] && document.getElementById('theme')"
    wait(browser, title, shown[1])
    assert browser.find_element(By.CSS_SELECTOR, ".walk .numbers").text == "2 of 2 in the list"
    for key, clip in (("k", shown[0]), ("j", shown[1]), (Keys.ARROW_LEFT, shown[0]), (Keys.ARROW_RIGHT, shown[1])):
        press(browser, key)
        wait(browser, title, clip)
    press(browser, "u")
    wait(browser, "document.getElementById('clips') && document.getElementById('theme')")
    assert names(browser) == shown
    assert browser.switch_to.active_element.text == shown[1]


def test_the_ends_of_the_list_lead_nowhere(browser, moved):
    go(browser, moved, page_of(CLIP))  # never having seen the list: by name
    press(browser, "k")
    assert browser.title == CLIP
    assert browser.find_element(By.ID, "previous").get_attribute("aria-disabled") == "true"
    press(browser, "j")
    wait(browser, "document.title === 'dishes_keyboard'")


# --- player -----------------------------------------------------------------------------------------------------------


def test_the_space_bar_plays_and_numbers_switch_at_the_same_moment(browser, moved):
    go(browser, moved, page_of(CLIP))
    press(browser, Keys.SPACE)
    wait(browser, "document.querySelectorAll('audio')[0].currentTime > 0.4")
    first = "document.querySelectorAll('audio')[0]"
    assert browser.execute_script(f"return {first}.readyState") >= 3
    assert (
        browser.execute_script(f"return getComputedStyle({first}.closest('.track').querySelector('.cursor')).opacity")
        == "1"
    )
    press(browser, "2")
    stem = "document.querySelector('#stem-0 audio')"
    wait(browser, f"!{stem}.paused && {stem}.currentTime > 0.5")
    assert browser.execute_script(f"return {first}.paused")
    reached = moments(browser)
    assert reached[1] >= reached[0] > 0.4
    press(browser, Keys.SPACE)
    wait(browser, f"{stem}.paused")


def test_every_sound_plays(browser, moved):
    for clip in (CLIP, "no_target"):
        go(browser, moved, page_of(clip))
        cards = len(browser.find_elements(By.CSS_SELECTOR, ".track"))
        for number in range(1, cards + 1):
            press(browser, str(number))
            if number == 1:
                wait(browser, "!document.querySelector('[data-track=\"1\"] audio').paused")
            audio = f"document.querySelector('[data-track=\"{number}\"] audio')"
            before = browser.execute_script(f"return {audio}.currentTime")
            wait(browser, f"{audio}.currentTime > arguments[0] + 0.1 && !{audio}.error", before)


def test_a_click_into_the_picture_goes_to_that_moment(browser, moved):
    go(browser, moved, page_of(CLIP))
    wait(browser, "document.querySelector('#stem-0 audio').readyState > 0")
    screen = browser.find_element(By.CSS_SELECTOR, "#stem-0 .screen")
    ActionChains(browser).move_to_element_with_offset(screen, screen.size["width"] // 4, 0).click().perform()
    wait(browser, "document.querySelector('#stem-0 audio').currentTime > 0")
    assert browser.execute_script("return document.querySelector('#stem-0 audio').currentTime") == pytest.approx(
        7.5, abs=0.1
    )
    press(browser, Keys.SPACE)
    wait(browser, "document.querySelector('#stem-0 audio').currentTime > 7.8")


# --- looks, access ----------------------------------------------------------------------------------------------------


def test_dark_by_the_systems_wish_and_by_hand_and_remembered(browser, moved):
    for scheme, is_right in (("dark", lambda level: level < 60), ("light", lambda level: level > 200)):
        wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        go(browser, moved)
        assert is_right(ground(browser)), scheme
    button = browser.find_element(By.ID, "theme")
    assert button.text == "Theme: auto"
    button.click()
    press(browser, "t")
    eventually(lambda: button.text, "Theme: dark")
    assert ground(browser) < 60
    go(browser, moved, page_of(CLIP))
    assert ground(browser) < 60
    press(browser, "t")
    eventually(lambda: ground(browser) > 200, True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(browser, moved, scheme):
    wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    for page in ("index.html", page_of(CLIP), page_of("dishes_keyboard")):
        go(browser, moved, page)
        if page == "index.html":
            browser.find_element(By.CSS_SELECTOR, "[data-flag='missed']").click()
        found = browser.execute_script(CONTRASTS)
        assert len(found) > 30
        assert [pair for pair in found if pair[0] < LEAST_CONTRAST] == []


def test_help_lists_the_keys_and_closes(browser, moved):
    go(browser, moved, page_of(CLIP))
    press(browser, "?")
    dialog = browser.find_element(By.ID, "help")
    eventually(dialog.is_displayed, True)
    assert "play or pause" in dialog.text
    press(browser, "j", Keys.ESCAPE)
    eventually(dialog.is_displayed, False)
    assert browser.title == CLIP


CUT_OFF = """
const room = document.documentElement.clientWidth;
const parts = document.querySelectorAll("#clips th, #clips td, #clips a, #clips .chip, #clips .flag");
return [...parts].filter((element) => {
  const {left, right} = element.getBoundingClientRect();
  return left < 0 || right > room;
}).map((element) => element.textContent);
"""
UNUSED_PX = """
return [...document.querySelectorAll(".pair, .alone")].map((row) => {
  const cards = [...row.children].map((card) => card.getBoundingClientRect());
  const {width, height} = row.getBoundingClientRect();
  return height - cards.reduce((sum, card) => sum + card.width * card.height, 0) / width;
});
"""


@pytest.fixture
def resized(browser):
    """Makes the window so many pixels wide, which may be less than Chromium's own windows can be."""

    def to(width: int) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    yield to
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [320, 400, 800, 961, 1400])
def test_no_page_is_wider_than_its_window_and_the_list_is_not_cut_off(browser, moved, resized, width):
    resized(width)
    for page in (page_of(CLIP), page_of("dishes_keyboard"), "index.html"):
        go(browser, moved, page)
        inner, needed = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert (inner, needed <= inner) == (width, True), page
    assert browser.execute_script(CUT_OFF) == []
    head(browser, "CAPI-SDRi").click()
    assert sorting(browser, "CAPI-SDRi") == "ascending"
    assert len(names(browser)) == 4


def test_numbers_carry_their_names_where_the_list_is_no_table(browser, moved, resized):
    script = """return [...document.querySelectorAll('#clips td.number[data-value]')]
      .map((cell) => getComputedStyle(cell, '::before').content)"""
    shown = {"CAPI-SDRi", "SI-SDRi", "Confidence", "Dropped"}
    for width, expected in ((400, {f'"{name} "' for name in shown}), (1400, {"none"})):
        resized(width)
        go(browser, moved)
        assert set(browser.execute_script(script)) == expected


@pytest.mark.parametrize("width", [400, 1400])
def test_cards_leave_no_half_page_empty(browser, moved, resized, width):
    resized(width)
    unpaired = [name for name, clip in clips_of(moved).items() if {"missed", "surplus stem"} & {*clip["flags"]}]
    assert unpaired
    for page in unpaired:
        go(browser, moved, page_of(page))
        unused_px = browser.execute_script(UNUSED_PX)
        assert len(unused_px) >= 2
        assert max(unused_px) < 30


def test_plus_and_minus_are_explained_where_they_are(browser, moved, made, tmp_path):
    go(browser, moved)
    legend = browser.find_element(By.ID, "legend").text
    assert legend == "+ Class: a stem that matches no reference; − Class: a reference that no stem matches"
    go(browser, write_report(read_run(made), tmp_path / "report").folder)
    assert browser.find_elements(By.ID, "legend") == []  # without references there is neither


# --- names, many clips ------------------------------------------------------------------------------------------------


HOSTILE = (
    "<img src=x onerror=document.title='taken'>",
    '"><script>document.title=`taken`<',
    "' onmouseover='x & y #1 50%41?q=1",
    "{{7*7}} 日本語 é",
    "a" * 200,
)


def test_hostile_names_are_only_names(browser, tmp_path):
    audio, rate_hz = soundfile.read(EXAMPLES / f"{CLIP}.flac")
    mixtures = tmp_path / "mixtures"
    mixtures.mkdir()
    for name in HOSTILE:
        soundfile.write(mixtures / f"{name}.wav", audio[:rate_hz], rate_hz)
    run = tmp_path / "<b>run"
    assert exit_code(["separate", str(mixtures), "-o", str(run), "--labels", "Speech", "--device", "cpu"]) == 0
    report = write_report(read_run(run), tmp_path / "report")
    assert report.troubles == ()
    go(browser, report.folder)
    assert sorted(names(browser)) == sorted(HOSTILE)
    assert browser.find_element(By.TAG_NAME, "h1").text == "<b>run"
    inner, needed = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert needed <= inner
    for name in HOSTILE:
        go(browser, report.folder)
        next(link for link in browser.find_elements(By.CSS_SELECTOR, "#clips a") if link.text == name).click()
        wait(browser, "document.title === arguments[0]", name)
        assert browser.find_element(By.TAG_NAME, "h1").text == name
        wait(browser, "[...document.querySelectorAll('audio')].every((a) => a.readyState > 0)")
        assert len(browser.find_elements(By.TAG_NAME, "audio")) == 2
        inner, needed = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert needed <= inner


def write_records(folder: Path, n_clips: int) -> None:
    """Records of a run as large as the evaluation set, without audio."""
    dice = random.Random(1)
    folder.mkdir()
    for index in range(n_clips):
        name, stems = f"eval_{index:04d}", []
        for slot in range(dice.randrange(4)):
            label = dice.choice(CLASSES)
            stem = {"file": f"{name}_{slot}_{label}.wav", "label": label, "confidence": dice.random(), "slot": slot}
            stems.append(stem | {"energy_db": -9.0, "numbers": {"support": 0.5}})
        record = {"name": name, "duration_s": 10.0, "stems": stems, "queries": [], "warnings": []}
        record |= {"clipped_samples": 0, "file": ""}
        (folder / f"{name}.json").write_text(json.dumps(record))


@pytest.mark.timeout(600)
def test_the_whole_evaluation_set_loads_sorts_and_filters_at_once(browser, tmp_path):
    write_records(tmp_path / "run", 2567)
    run = read_run(tmp_path / "run")
    keys = page_keys([clip.name for clip in run.clips])
    outcomes = [Outcome(key, clip, flags_of(clip, None, {}), None) for key, clip in zip(keys, run.clips, strict=True)]
    write_list(Report(tmp_path, run, tuple(outcomes), None), tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 3_000_000
    go(browser, tmp_path)
    assert count(browser) == "2,567 clips"
    ready_ms = browser.execute_script("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert ready_ms < 10_000
    click = """
    const [button, start] = [arguments[0], performance.now()];
    button.click(); document.body.offsetHeight;  // layout included
    return performance.now() - start;
    """
    assert browser.execute_script(click, head(browser, "Confidence")) < 3_000
    values = [value for value in column(browser, "Confidence") if value is not None]
    assert len(values) > 1500
    assert np.all(np.diff(values) >= 0)
    flag = browser.find_element(By.CSS_SELECTOR, "[data-flag='low confidence']")
    assert browser.execute_script(click, flag) < 3_000
    n_low = sum("low confidence" in [mark.name for mark in outcome.flags] for outcome in outcomes)
    assert count(browser) == f"{n_low:,} of 2,567 clips"
