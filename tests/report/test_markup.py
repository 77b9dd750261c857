"""Text stays text."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from s5cli.report.markup import document, node, serialised


class Seen(HTMLParser):
    """What a parser makes of markup."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


TEXT = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]))


@given(TEXT, TEXT, TEXT)
def test_a_parser_finds_what_was_put_in_and_nothing_else(before, inside, attribute):
    seen = Seen()
    seen.feed(serialised(node("p", {"title": attribute}, before, node("b", {}, inside), inside)))
    seen.close()
    assert seen.tags == [("p", [("title", attribute)]), ("b", [])]
    assert seen.text == before + inside + inside


def test_names_that_are_no_unicode_make_a_page_all_the_same():
    page = document("caf\udce9", "", "list.js", node("p", {}, "caf\udce9"))
    assert b"<title>caf&#56553;</title>" in page
    page.decode("utf-8")
