"""The support-matrix page in a real browser: filters, picker, theme, keyboard, without scripts, for everybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from builder.report import support_page
from tests.tools.browser import barriers, opened, picture, running_browser, serving
from tests.tools.support_site import production_site

FITS_NOTHING = "#gpu=kepler&cuda=12.4&on=el8%2Fx86_64%2F4.18.0-553.el8_10.x86_64"
ONE_OF_EACH_LOOK = """() => {  // axe-core looks at each word's colours: rows of the same states once, a few streams
  const seen = new Set();
  for (const row of document.querySelectorAll("#grid tbody tr:not(.g)")) {
    const look = [...new Set([...row.querySelectorAll("td, td p")].map(e => e.className))].sort().join();
    if (seen.has(look)) row.remove();
    seen.add(look);
  }
  document.querySelectorAll("details tbody tr:nth-child(n + 5)").forEach(row => row.remove());
  document.querySelector("details").open = true;
}"""
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "support-matrix.html").write_bytes(support_page(production_site(place="https://repo.example.com/nvidia")))
    (folder / "large.html").write_bytes(support_page(production_site(kernels=41)))
    broken = production_site(failed={"*@5.14.0-503*": "gcc: <internal> error"})
    for publication in broken["publications"]:
        publication["streams"] = [s for s in publication["streams"] if s["kmods"] != "dkms"]
    (folder / "broken.html").write_bytes(support_page(broken))
    (folder / "favicon.ico").touch()
    with serving(folder) as found:
        yield f"{found}/support-matrix.html"


def kernels(page: Page) -> list[str]:
    """Those that can be seen in the table."""
    return page.locator("#grid tbody th[scope=row] code:visible").all_inner_texts()


def columns(page: Page) -> set[str]:
    return set(
        page.locator("#grid thead th[data-f]:visible").evaluate_all("all => all.map(e => e.dataset.b + e.dataset.f)")
    )


def answer(page: Page) -> str:
    return page.inner_text("#answer")


def command(page: Page) -> str:
    return page.inner_text("#answer .command code")


def test_filters_leave_what_fits_and_the_address_shows_the_same_view_again(browser: Browser, address: str) -> None:
    with opened(browser, address) as found:
        page = found.page
        assert len(kernels(page)) == 9
        page.select_option("#by-d", "el9")
        assert len(kernels(page)) == 3
        page.select_option("#by-g", "blackwell")
        assert columns(page) == {"595open", "590open", "580open", "570open"}  # proprietary modules do not drive it
        page.fill("#by-k", "EL9_6")
        assert kernels(page) == ["5.14.0-570.12.1.el9_6.x86_64"]
        assert page.inner_text("#found") == "1 of 9 kernels, 4 of 15 kinds of modules"
        assert page.url.endswith("#d=el9&g=blackwell&k=EL9_6")
        linked = page.url
    with opened(browser, linked) as found:
        assert kernels(found.page) == ["5.14.0-570.12.1.el9_6.x86_64"]
        picture(found.page, "filtered")
        found.page.click("#tools button")
        found.page.wait_for_function("!location.hash")
        assert len(kernels(found.page)) == 9
        assert len(columns(found.page)) == 15


def test_filters_by_architecture_and_state_and_nothing_at_all(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#a=x86_64&s=missing") as found:
        assert kernels(found.page) == [
            "6.12.0-55.9.1.el10_0.x86_64",  # the driver failed for its sibling, so no stream carries it
            "6.12.0-124.8.1.el10_1.x86_64",
            "4.18.0-553.el8_10.x86_64",
            "4.18.0-553.77.1.el8_10.x86_64",
        ]
        found.page.fill("#by-k", "2.6.32")
        assert kernels(found.page) == []
        assert "nothing fits all of these filters" in found.page.inner_text("#found")


def test_an_address_with_unknown_or_hostile_values_shows_everything(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#d=el99&g=%3Cimg%20src=x%3E&on=..%2F..%2Fx&gpu=__proto__") as found:
        assert len(kernels(found.page)) == 9
        assert command(found.page).startswith("dnf install https://repo.example.com/nvidia/el10/")


@pytest.mark.parametrize(
    ("wish", "stream", "line"),
    [
        ("on=el9%2Fx86_64%2F5.14.0-570.12.1.el9_6.x86_64", "latest: driver 595.71.05", "nvidia-driver:latest"),
        ("gpu=kepler&on=el8%2Fx86_64%2F", "r470: driver 470.256.02", "nvidia-driver:r470"),
        ("gpu=pascal&on=el9%2Fx86_64%2F", "r580: driver 580.142", "nvidia-driver:r580"),  # open modules drive it not
        ("gpu=blackwell&cuda=12.8&on=el9%2Fx86_64%2F", "latest: driver 595.71.05", "nvidia-driver:latest"),
        ("on=el9%2Fx86_64%2F*", "latest-dkms: driver 595.71.05", "nvidia-driver:latest-dkms"),
        # 595.71.05 has no open module for this kernel, so the default stream carries the driver before it
        ("on=el10%2Fx86_64%2F6.12.0-124.8.1.el10_1.x86_64", "latest: driver 595.45.04", "streams/latest/"),
    ],
)
def test_the_picker_names_the_stream_and_the_command(
    browser: Browser, address: str, wish: str, stream: str, line: str
) -> None:
    with opened(browser, f"{address}#{wish}") as found:
        assert found.page.inner_text("#answer h3") == stream
        assert line in command(found.page)


def test_what_was_picked_is_copied_and_stands_in_the_address(browser: Browser, address: str) -> None:
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as found:
        page = found.page
        page.select_option("#pick-kernel", "el8/x86_64/")
        page.select_option("#pick-gpu", "kepler")
        assert command(page) == "dnf module install nvidia-driver:r470"
        page.click("#answer button.main")
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == "dnf module install nvidia-driver:r470"
        assert "dnf module switch-to nvidia-driver:r470" in answer(page)
        assert page.url.endswith("#gpu=kepler&on=el8%2Fx86_64%2F")
        page.get_by_role("button", name="r470-dkms").click()
        assert command(page) == "dnf module install nvidia-driver:r470-dkms"


def test_where_nothing_fits_it_is_said_why_and_what_would(browser: Browser, address: str) -> None:
    with opened(browser, address + FITS_NOTHING) as found:
        page = found.page
        assert "No stream of this distribution fits" in answer(page)
        assert "The newest branch here for Kepler is R470, with CUDA up to 11.4." in answer(page)
        picture(page, "nothing-fits")
        page.get_by_role("button", name="CUDA up to 11.4: r470").click()
        assert command(page) == "dnf module install nvidia-driver:r470"
        assert "cuda=11.4" in page.url


def test_a_gpu_that_this_distribution_drives_no_more_is_sent_to_one_that_does(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}#gpu=kepler&on=el9%2Fx86_64%2F") as found:
        assert "No stream here drives Kepler." in answer(found.page)
        found.page.get_by_role("button", name="Red Hat Enterprise Linux 8 and its rebuilds, x86_64: r470").click()
        assert command(found.page) == "dnf module install nvidia-driver:r470"


def test_where_a_kernel_has_no_module_the_reason_is_the_cells(browser: Browser, address: str) -> None:
    with opened(browser, address.replace("support-matrix", "broken")) as found:
        page = found.page
        page.select_option("#pick-gpu", "volta")
        page.select_option("#pick-kernel", "el9/x86_64/5.14.0-503.11.1.el9_5.x86_64")
        assert "580.142 failed for this kernel: gcc: <internal> error." in answer(page)
        page.select_option("#pick-kernel", "el9/x86_64/*")
        assert "No DKMS stream here, which alone serves kernels of one's own." in answer(page)


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_remembered(browser: Browser, address: str) -> None:
    def paper(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    with opened(browser, address, color_scheme="dark") as found:
        dark = paper(found.page)
        picture(found.page, "dark", whole=True)
        found.page.click("#theme")
        light = paper(found.page)
        assert found.page.inner_text("#theme") == "Theme: light"
        assert dark != light
        found.page.reload()
        assert paper(found.page) == light
        found.page.click("#theme")
        found.page.emulate_media(color_scheme="light")
        assert paper(found.page) == dark
        found.page.click("#theme")
        assert paper(found.page) == light  # the system's again


def test_a_cells_whole_story_is_reached_by_keys_alone(browser: Browser, address: str) -> None:
    with opened(browser, address) as found:
        page = found.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the matrix"
        page.focus("#grid")
        page.keyboard.press("Tab")  # the certificate
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "595.71.05"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        story = page.inner_text("#cell")
        assert "595.71.05 for 6.12.0-124.8.1.el10_1.x86_64" in story
        assert "conftest: <drm/drm_drv.h> & friends moved; nvidia-drm does not compile" in story
        picture(page, "cell")
        page.keyboard.press("Escape")
        assert not page.is_visible("#cell")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press(" ")
        told = page.inner_text("#cell").replace("\n", " ")
        for fact in ("Driver 590.48.01 (R590), open modules", "Tested to static", "Signed by Example kernel modules"):
            assert fact in told
        for fact in ("Built 2025-10-09", "After the kernel 29 h", "latest-open, r590-open Log build log"):
            assert fact in told


def test_each_stop_of_the_tab_key_can_be_seen(browser: Browser, address: str) -> None:
    """No trap, nothing hidden takes the focus, and the table's fields are one stop together."""
    with opened(browser, address) as found:
        seen, focused = [], "(e => [e.tagName, e.id || e.textContent, e.checkVisibility()])(document.activeElement)"
        for _ in range(80):
            found.page.keyboard.press("Tab")
            seen.append(found.page.evaluate(focused))
            if seen[-1][0] == "BODY":
                break
        assert seen[-1][0] == "BODY" or seen[0] in seen[1:] or len(seen) == 80
        assert all(visible for *_, visible in seen)
        assert [name for tag, name, _ in seen if tag == "B"] == ["595.71.05"]
        assert {"theme", "pick-gpu", "pick-kernel", "by-d", "by-k", "grid"} <= {name for _, name, _ in seen}


def test_without_scripts_the_table_its_reasons_and_lifetimes_are_there(browser: Browser, address: str) -> None:
    with opened(browser, address, java_script_enabled=False) as found:
        page = found.page
        assert page.locator("#grid tbody th[scope=row]:visible").count() == 9
        text = page.inner_text("main")
        for fact in ("580.142 secureboot", "595.71.05 failed", "until 2028-06", "RHEL 7 left maintenance"):
            assert fact in text
        assert not page.is_visible("#picker")
        assert not page.is_visible("#tools")
        assert not page.is_visible("#theme")
        page.locator("#grid a", has_text="why").first.click()
        assert "#w" in page.url
        page.locator("#streams + details summary").click()
        assert page.locator("code", has_text="nvidia-driver-release.rpm").first.is_visible()
        picture(page, "without-scripts", whole=True)


@pytest.mark.parametrize(("scheme", "view"), [("light", "phone"), ("dark", "desktop")])
def test_nobody_is_shut_out_in_either_theme(browser: Browser, address: str, scheme: str, view: str) -> None:
    size = PHONE if view == "phone" else {}
    with opened(browser, address, color_scheme=scheme, bypass_csp=True, **size) as found:
        page = found.page
        picture(page, f"{view}-{scheme}", whole=True)
        page.evaluate(ONE_OF_EACH_LOOK)
        for look in ("p", "f", "h", "x", "m"):
            assert page.locator(f"#grid .{look}").count() > 0
        assert barriers(page) == []


def test_a_page_that_shuts_people_out_is_found(browser: Browser, address: str) -> None:
    with opened(browser, address, bypass_csp=True) as found:
        found.page.set_content("<html lang=en><title>x</title><main><select><option>a</select></main>")
        assert any(line.startswith("select-name") for line in barriers(found.page))


def test_on_a_phone_only_tables_scroll_sideways(browser: Browser, address: str) -> None:
    with opened(browser, address + FITS_NOTHING, **PHONE) as found:
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert found.page.evaluate("(e => e.scrollWidth > e.clientWidth)(document.getElementById('grid'))")


def test_a_script_that_got_into_the_page_does_not_run(browser: Browser, address: str) -> None:
    with opened(browser, address) as found:
        found.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
        )
        assert found.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in text for text in found.complaints)
        found.complaints.clear()


def test_two_thousand_cells_are_filtered_and_told_of(browser: Browser, address: str) -> None:
    with opened(browser, address.replace("support-matrix", "large")) as found:
        assert len(kernels(found.page)) == 125
        found.page.fill("#by-k", "-640.")
        assert len(kernels(found.page)) == 3
        found.page.locator("#grid td b:visible").first.click()
        assert "-640." in found.page.inner_text("#cell-title")
