"""Texts and books as chapters."""

import io
import zipfile
from collections.abc import Mapping

import pytest

from web_demo.archive.books import BLOCK_CHARS, Book, Chapter, blocks, read_book
from web_demo.errors import TooLarge, UnsupportedMedia

CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>
<dc:title>A  Tale</dc:title><dc:creator>Ann Author</dc:creator><dc:language>en-GB</dc:language></metadata><manifest>
<item id="nav" href="{toc}" media-type="{kind}" {properties}/><item id="cover" href="cover.xhtml" media-type="x"/>
<item id="c1" href="text/one%20a.xhtml" media-type="x"/><item id="c1b" href="text/more.xhtml" media-type="x"/>
<item id="c2" href="text/two.xhtml" media-type="x"/></manifest><spine><itemref idref="nav"/><itemref idref="cover"/>
<itemref idref="c1"/><itemref idref="c1b"/><itemref idref="c2"/></spine></package>"""
TEXTS = {
    "OPS/cover.xhtml": "<html><head><title>no</title></head><body><img src='x'/></body></html>",
    "OPS/text/one a.xhtml": "<html><body><h1>One</h1><p>It <b>was</b> a\n dark&nbsp;night.</p><script>no()</script></body></html>",
    "OPS/text/more.xhtml": "<html><body><p>It went on<br/>and on.</p></body></html>",
    "OPS/text/two.xhtml": "<html><body><p><ruby>漢<rt>kan</rt></ruby>字</p></body></html>",
}
NAV = (
    "<html><body><nav><ol><li><a href='text/one%20a.xhtml#top'>The <i>First</i></a></li>"
    "<li><a href='text/two.xhtml'>第二章</a></li></ol></nav></body></html>"
)
NCX = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>
<navPoint><navLabel><text>The First</text></navLabel><content src="text/one%20a.xhtml"/></navPoint>
<navPoint><navLabel><text>第二章</text></navLabel><content src="text/two.xhtml#a"/></navPoint></navMap></ncx>"""


def epub(files: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return packed.getvalue()


def book(version: int) -> bytes:
    toc = (
        ("nav.xhtml", "application/xhtml+xml", 'properties="nav"')
        if version == 3
        else ("toc.ncx", "application/x-dtbncx+xml", "")
    )
    package = PACKAGE.format(toc=toc[0], kind=toc[1], properties=toc[2])
    if version == 2:
        package = package.replace('<itemref idref="nav"/>', "")
    contents = {f"OPS/{toc[0]}": NAV if version == 3 else NCX}
    return epub({"META-INF/container.xml": CONTAINER, "OPS/book.opf": package, **TEXTS, **contents})


@pytest.mark.parametrize("version", [2, 3])
def test_an_epub_has_the_chapters_of_its_contents_in_the_order_of_its_spine(version: int):
    assert read_book("a.EPUB", book(version)) == Book(
        (
            Chapter("The First", "One\n\nIt was a dark night.\n\nIt went on\n\nand on."),
            Chapter("第二章", "漢字"),
        ),
        "A Tale",
        "Ann Author",
        "en",
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"PK no zip", "cannot be read as EPUB"),
        (epub({"mimetype": "application/epub+zip"}), "container.xml"),
        (epub({"META-INF/container.xml": "<broken"}), "cannot be read as EPUB"),
        (epub({"META-INF/container.xml": "<c/>"}), "names no package"),
        (epub({"META-INF/container.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}), "defines entities"),
    ],
)
def test_what_is_no_epub_says_so(content: bytes, error: str):
    with pytest.raises(UnsupportedMedia, match=error):
        read_book("a.epub", content)


def test_a_book_that_unpacks_to_too_much_is_refused_before_it_is_unpacked():
    with pytest.raises(TooLarge, match="more than 64 MiB"):
        read_book("a.epub", epub({"META-INF/container.xml": " " * (65 << 20)}))


def test_markdown_has_chapters_at_the_highest_heading_that_there_is_more_of():
    text = "# The Book\n\nForeword.\n\n## One ##\nText.\n```\n## code\n```\n### Inner\nMore.\n\n## Two\nEnd.\n"
    made = read_book("a.md", text.encode())
    assert made.title == "The Book"
    assert [chapter.title for chapter in made.chapters] == ["", "One", "Two"]
    assert made.chapters[1].text == "## One ##\nText.\n```\n## code\n```\n### Inner\nMore.\n"


@pytest.mark.parametrize("text", ["No heading at all.", "# One\nText."])
def test_markdown_without_chapters_is_one(text: str):
    (chapter,) = read_book("a.md", text.encode()).chapters
    assert chapter.text == text


@pytest.mark.parametrize("content", ["声".encode(), b"\xef\xbb\xbf" + "声".encode(), "声".encode("utf-16")])
def test_a_text_is_read_in_the_encodings_that_it_tells(content: bytes):
    assert read_book("a.txt", content) == Book((Chapter("", "声"),))


def test_a_text_in_another_encoding_is_refused_with_the_place():
    with pytest.raises(UnsupportedMedia, match=r"no UTF-8 .byte 3"):
        read_book("a.txt", b"caf\xe9")


def test_a_long_text_is_cut_between_paragraphs_and_loses_nothing():
    paragraphs = [f"Paragraph {number}. " + "And so it goes on and on. " * 20 for number in range(60)]
    cut = list(blocks("\n\n".join(paragraphs)))
    assert max(map(len, cut)) <= BLOCK_CHARS + 2
    assert " ".join(" ".join(cut).split()) == " ".join(" ".join(paragraphs).split())
    endless = list(blocks("One sentence after the other. " * 1000))
    assert max(map(len, endless)) <= BLOCK_CHARS
    assert len(endless) > 5
