"""The page in a real browser: what a person sees, clicks and copies."""

from __future__ import annotations

import copy
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.commands.report import write
from prompt_optimization.report.scan import Scan
from prompt_optimization.report.server import Server
from prompt_optimization.runs.store.lock import RunLock
from prompt_optimization.runs.store.now import Now, write_now
from tests.report.records import folder_of, held_out, log, scored

pytestmark = pytest.mark.browser

selenium = pytest.importorskip("selenium", reason="selenium comes with the extra 'test'")
from selenium.webdriver import Chrome, ChromeOptions  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

# It would run, end the script that it stands in, or break the JSON around it, if it could.
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    " \"quoted\" 'single' \u2028 line \u2029 </textarea><!-- {{ 7 * 7 }} \U0001f600 &lt;b&gt;"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    chromedriver = shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.skip("the browser tests want chromium and its driver")
    options = ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = Chrome(options, Service(chromedriver))
    yield made
    made.quit()


@pytest.fixture
def page(browser: Chrome) -> Iterator[Page]:
    made = Page(browser)
    made.look(1280)
    browser.get_log("browser")
    yield made
    # Also what a policy has refused to run stands there.
    problems = [entry["message"] for entry in browser.get_log("browser")]
    browser.get("about:blank")
    assert problems == []


class Page:
    """The page as a person meets it."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def look(self, width: int, scheme: str = "light") -> None:
        """Set the width of the window, in pixels, and the colours that the person wants."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def until(self, seen: Callable[[], Any]) -> Any:
        return WebDriverWait(self.browser, 30, 0.05).until(lambda _: seen())

    def all(self, css: str) -> list[WebElement]:
        return self.browser.find_elements("css selector", css)

    def one(self, css: str) -> WebElement:
        found: WebElement = self.until(lambda: next(iter(self.all(css)), None))
        return found

    def text(self, part: str) -> str:
        """What a part of a run's page says."""
        found: str = self.one(f"[data-part={part}]").text
        return found

    def script(self, code: str) -> Any:
        return self.browser.execute_script(f"return {code}")

    def open_run(self, url: str, name: str) -> None:
        self.browser.get(url)
        self.until(lambda: self.all(".runs tbody tr"))
        self.browser.find_element("link text", name).click()
        self.until(lambda: self.all("h2.name") and self.one("h2.name").text == name)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder; the address."""
    servers = []

    def made(folder: Path) -> str:
        server = Server(Scan(folder), lambda: {"tables": [], "figures": [], "left_out": []}, "Runs")
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.url

    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


def longer(steps: int) -> dict[str, Any]:
    """A log of a method that is not known here, with that many steps, not finished."""
    made = log("live", "hill climbing", n_steps=40)
    pattern = made["steps"][0]
    made["steps"] = []
    for number in range(steps):
        step = copy.deepcopy(pattern) | {"step": number}
        prompt = f" think well {number}"
        step["incumbent"] = scored(prompt, 0.5 / (number + 1), number)
        step["tried"][0]["prompt"] = prompt
        made["steps"].append(step)
    made["best"] = [made["steps"][-1]["incumbent"] if steps else made["initial"]]
    return made | {"status": "running", "evaluation": None, "ended": None}


def test_from_the_list_to_a_run_and_back(
    page: Page, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "runs", log("a"), log("b", "ape", seed=1))
    row = {"row": 8, "question": "How many?", "reasoning": "So.", "answer": "2", "reference": "2"}
    (folder / "0.json.outputs.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row))
    url = serve(folder)
    page.browser.get(url)
    page.until(lambda: len(page.all(".runs tbody tr")) == 2)
    page.one("input[type=search]").send_keys("greater finished")
    assert [row.text.split("\n")[0] for row in page.all(".runs tbody tr:not([hidden])")] == ["0"]
    page.open_run(url, "0")
    parts = [part.get_attribute("data-part") for part in page.all("[data-part]") if part.text]
    assert parts[:4] == ["head", "verdict", "prompts", "curve"], "verdict and prompts first"
    assert page.text("verdict").startswith("Undecided: +50.0 points [-10.0, +90.0]")
    assert page.one("[data-part=prompts] ins").text.strip() == "well"
    page.browser.execute_cdp_cmd("Browser.grantPermissions", {
        "origin": url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]
    })  # fmt: skip
    page.all(".copy")[0].click()
    page.until(lambda: page.all(".copy")[0].text == "Copied")
    read = page.browser.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], arguments[0])"
    )
    assert read == "think well"
    assert "Won: 2" in page.text("flips") and "Lost: 0" in page.text("flips")
    page.one("[data-part=flips] summary").click()
    page.until(lambda: "How many?" in page.text("flips"))
    chart = page.one(".chart")
    page.until(lambda: page.all(".chart circle"))
    chart.send_keys(Keys.ARROW_RIGHT)
    assert "initial prompt: 0.750" in page.one(".tip").text
    page.all("[data-part=origin] summary")[-1].click()
    page.until(lambda: "model_paths" in page.text("origin"))
    page.one("a.back").click()
    page.until(lambda: page.all(".runs tbody tr"))


def test_a_run_grows_on_the_page(page: Page, serve: Callable[[Path], str], tmp_path: Path) -> None:
    path = folder_of(tmp_path / "runs", longer(0), log("other")) / "0.json"
    with RunLock(path):
        write_now(path, Now("climb", 3, 8, "2026-11-26T08:00:00"))
        page.open_run(serve(path.parent), "0")
        assert "running" in page.text("head") and "3 of 8 rows" in page.text("now")
        for steps in (1, 12):
            path.write_text(json.dumps(longer(steps)))
            page.until(lambda: f"{steps} of 40" in page.text("costs"))  # noqa: B023
            assert len(page.all(".steps tbody tr")) == min(steps, 10)
        assert "think well 11" in page.text("prompts") and "step 12" in page.text("prompts")
        page.one("[data-part=steps] > section > button").click()
        assert len(page.all(".steps tbody tr")) == 12
        # Taken back by a resume, and then longer again.
        shorter = longer(2)
        shorter["sessions"].append(shorter["sessions"][0] | {"first_step": 2})
        path.write_text(json.dumps(shorter))
        page.until(lambda: len(page.all(".steps tbody tr")) == 2)
        path.write_text(json.dumps(shorter)[:-300])
        page.until(lambda: "cannot be shown" in page.text("damage"))
        finished = shorter | {"status": "finished", "evaluation": log("x")["evaluation"]}
        path.write_text(json.dumps(finished))
        page.until(lambda: "Undecided" in page.text("verdict"))
        assert "cannot be shown" not in page.one("main").text and not page.text("now")


def test_a_killed_run_and_a_torn_log_say_so(
    page: Page, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "runs", longer(3))
    (folder / "torn.json").write_text(json.dumps(longer(3))[:700])
    page.open_run(serve(folder), "torn")
    assert "damaged" in page.text("damage")
    page.one("a.back").click()
    page.until(lambda: len(page.all(".runs tbody tr")) == 2)
    assert "damaged" in page.one(".runs").text and "not measured" in page.one(".runs").text


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    made = log(HOSTILE, "hill climbing", model=HOSTILE, train_data=HOSTILE, extractor_text=HOSTILE)
    made["initial"] = scored(HOSTILE, 0.75)
    for step in made["steps"]:
        step["events"] = [HOSTILE]
        step["seconds"] = {HOSTILE: 1.0}
        for tried in step["tried"]:
            tried |= {"label": HOSTILE, "prompt": HOSTILE}
    chosen = f" well {HOSTILE}"
    made["evaluation"] |= {"chosen": chosen}
    made["evaluation"]["test"]["best"] = held_out(chosen, "0111")
    made["environment"]["chat_template"] = {HOSTILE: HOSTILE}
    folder = folder_of(tmp_path / "runs", made, log("other", seed=HOSTILE))
    row = {"row": 8} | dict.fromkeys(("question", "reasoning", "answer", "reference"), HOSTILE)
    (folder / "0.json.outputs.jsonl").write_text(json.dumps(row))
    return folder


@pytest.mark.parametrize("way", ["served", "file"])
def test_a_hostile_prompt_is_text(
    page: Page, serve: Callable[[Path], str], hostile: Path, way: str
) -> None:
    url = serve(hostile) if way == "served" else report(hostile).as_uri()
    page.open_run(url, "0")
    for summary in page.all("main summary"):
        summary.click()
    page.until(lambda: page.all(".transcript"))
    shown = page.script("document.querySelector('[data-part=prompts] .prose').textContent")
    assert shown == f"well {HOSTILE}".strip()
    assert page.browser.title != "owned" and not page.all("main img, main script")
    assert page.script("document.querySelector('.transcript').textContent").count(HOSTILE) == 4


def report(folder: Path) -> Path:
    write(folder, "html", None, "")
    return folder / "report.html"


def test_the_report_is_the_same_page_and_opens_from_a_file(
    page: Page, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "runs", log("a"))
    page.browser.get(serve(folder))
    page.until(lambda: page.all("[data-part=origin]"))
    served = [page.text(part.get_attribute("data-part") or "") for part in page.all("[data-part]")]
    page.browser.get(report(folder).as_uri())
    page.until(lambda: page.all("details.tables table"))
    assert [
        page.text(part.get_attribute("data-part") or "") for part in page.all("[data-part]")
    ] == served, "the only run of a folder is shown at once"
    titles = [heading.text for heading in page.all("details.tables h2")]
    assert titles[0] == "Accuracy by task" and not [each for each in titles if "Table" in each]


def test_two_hundred_runs(page: Page, serve: Callable[[Path], str], tmp_path: Path) -> None:
    made = [log(str(number), seed=number) for number in range(200)]
    url = serve(folder_of(tmp_path / "runs", *made))
    page.browser.get(url)
    page.until(lambda: len(page.all(".runs tbody tr")) == 200)
    page.one("input[type=search]").send_keys("nothing like it")
    assert "0 of 200 runs" in page.one("main").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_in_both_schemes(
    page: Page, serve: Callable[[Path], str], tmp_path: Path, scheme: str
) -> None:
    made = log("a", model="a-model-with-a-name-that-has-no-end-" * 4)
    made["evaluation"]["chosen"] = " word" * 20_000 + " without-spaces" * 400
    url = serve(folder_of(tmp_path / "runs", made, longer(12)))
    page.look(400, scheme)
    page.browser.get(url)
    page.until(lambda: page.all(".runs tbody tr"))
    width = "document.documentElement.scrollWidth"
    assert page.script(width) <= 400
    page.open_run(url, "0")
    page.until(lambda: page.all(".chart circle"))
    assert page.script(width) <= 400
    # The screen is not filled by one prompt.
    assert page.one("[data-part=prompts]").size["height"] < 1500
    back = page.script("getComputedStyle(document.body).backgroundColor")
    light = [int(each) for each in back.removeprefix("rgb(").removesuffix(")").split(", ")]
    assert (sum(light) > 3 * 128) == (scheme == "light")


def test_a_server_that_has_gone_is_told(
    page: Page, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    page.browser.get(serve(folder_of(tmp_path / "runs", log("a"))))
    page.until(lambda: page.text("verdict"))
    assert not page.one("#notice").is_displayed()
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*"]})
    page.until(lambda: "No answer" in page.one("#notice").text)
    assert page.text("verdict"), "what was known stays"
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    page.until(lambda: not page.one("#notice").is_displayed())
    page.browser.get_log("browser")  # which empties it: some browsers tell what was not answered
