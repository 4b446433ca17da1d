"""Texts and books as chapters: plain text, Markdown, EPUB. Pure, but for the zip of a book.

EPUB 3 (https://www.w3.org/TR/epub-33/) and 2: the documents of the spine in their order, with titles from the table of contents.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

from utils.sentences import split_sentences
from web_demo.errors import TooLarge, UnsupportedMedia

MOST_BYTES = 64 << 20  # of a book's texts, unpacked
BLOCK_CHARS = 4000  # of text that is put into words at once
_NAMESPACE = re.compile(r"\{[^}]*\}")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Chapter:
    title: str  # "" where it has none
    text: str
    markdown: bool = False


@dataclass(frozen=True)
class Book:
    chapters: tuple[Chapter, ...]
    title: str = ""
    author: str = ""
    language: str = ""


def read_book(name: str, content: bytes) -> Book:
    """`name` tells by its suffix what it is. Raises UnsupportedMedia for what is none, TooLarge."""
    suffix = posixpath.splitext(name.lower())[1]
    if suffix == ".epub":
        return _epub(content)
    text = _text(content)
    return _markdown(text) if suffix in (".md", ".markdown") else Book((Chapter("", text),))


def blocks(text: str) -> Iterator[str]:
    """A long text in stretches of whole paragraphs, of at most BLOCK_CHARS; longer paragraphs are cut between sentences."""
    held = ""
    for paragraph in re.split(r"(?<=\n)\s*\n", text):
        if held and len(held) + len(paragraph) > BLOCK_CHARS:
            yield held
            held = ""
        if len(paragraph) > BLOCK_CHARS:
            yield from split_sentences(paragraph, BLOCK_CHARS)
        else:
            held += f"{paragraph}\n\n"
    if held:
        yield held


def _text(content: bytes) -> str:
    """UTF-8, with or without a mark, or UTF-16 with one."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnsupportedMedia(f"the text is no UTF-8 (byte {error.start}); convert it") from error


def _markdown(text: str) -> Book:
    """Chapters begin at headings of the highest level that has more than one; a single one above them is the title."""
    lines = text.splitlines()
    headings: list[tuple[int, int, str]] = []  # line, level, title
    fence = ""
    for at, line in enumerate(lines):
        if found := _FENCE.match(line):
            fence = "" if fence == found.group(1) else fence or found.group(1)
        elif not fence and (heading := _HEADING.match(line)):
            headings.append((at, len(heading.group(1)), heading.group(2)))
    levels = [level for _, level, _ in headings]
    level = next((level for level in sorted(set(levels)) if levels.count(level) > 1), min(levels, default=0))
    starts = [(at, title) for at, its, title in headings if its == level]
    title = next((title for _, its, title in headings if its < level), "")
    if starts and all(not line.strip() or _HEADING.match(line) for line in lines[: starts[0][0]]):
        starts[0] = (0, starts[0][1])  # the title is read before the first chapter, and is none
    edges = [at for at, _ in starts] + [len(lines)]
    parts = [("", 0, edges[0])] if edges[0] else []
    parts += [(name, at, end) for (at, name), end in zip(starts, edges[1:], strict=True)]
    chapters = [Chapter(name, "\n".join(lines[at:end]), markdown=True) for name, at, end in parts]
    return Book(tuple(chapter for chapter in chapters if chapter.text.strip()), title)


def _epub(content: bytes) -> Book:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            return _EpubReader(packed).book()
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, NotImplementedError, RuntimeError) as error:
        raise UnsupportedMedia(f"the book cannot be read as EPUB: {error}") from error


class _EpubReader:
    def __init__(self, packed: zipfile.ZipFile) -> None:
        self._packed = packed
        self._left = MOST_BYTES

    def book(self) -> Book:
        if "META-INF/encryption.xml" in self._packed.namelist() and self._encrypted():
            raise UnsupportedMedia("the book is encrypted")
        container = self._xml("META-INF/container.xml")
        root = next((each.attrib["full-path"] for each in container.iter() if _tag(each) == "rootfile"), None)
        if root is None:
            raise UnsupportedMedia("the book cannot be read as EPUB: it names no package")
        package = self._xml(root)
        told = {_tag(each): _SPACE.sub(" ", each.text or "").strip() for each in reversed(list(package.iter()))}
        items = {each.attrib["id"]: each.attrib for each in package.iter() if _tag(each) == "item"}
        ways = {
            name: posixpath.normpath(posixpath.join(posixpath.dirname(root), unquote(its["href"])))
            for name, its in items.items()
        }
        spine = [each.attrib for each in package.iter() if _tag(each) == "itemref"]
        titles = self._titles(items, ways)
        chapters: list[Chapter] = []
        for each in spine:
            name = each["idref"]
            if name not in ways or each.get("linear") == "no" or "nav" in items[name].get("properties", "").split():
                continue
            page = _Page()
            page.feed(self._read(ways[name]).decode("utf-8", "replace"))
            page.close()
            text = page.text()
            title = titles.get(ways[name], "" if titles else page.heading)
            if title or not chapters:
                chapters.append(Chapter(title, text))
            else:  # goes on with the chapter before
                chapters[-1] = Chapter(chapters[-1].title, f"{chapters[-1].text}\n\n{text}")
        language = told.get("language", "").split("-")[0].lower()
        kept = tuple(chapter for chapter in chapters if chapter.text.strip())
        return Book(kept, told.get("title", ""), told.get("creator", ""), language)

    def _encrypted(self) -> bool:
        """Whether anything but fonts is: those are only obfuscated."""
        found = [
            each.attrib.get("URI", "")
            for each in self._xml("META-INF/encryption.xml").iter()
            if _tag(each) == "CipherReference"
        ]
        return any(not uri.lower().endswith((".ttf", ".otf", ".woff", ".woff2")) for uri in found)

    def _titles(self, items: Mapping[str, Mapping[str, str]], ways: Mapping[str, str]) -> dict[str, str]:
        """Of documents, as the table of contents has them; the first one of each."""
        navigation = next((name for name, its in items.items() if "nav" in its.get("properties", "").split()), None)
        if navigation is not None:
            page = _Page()
            page.feed(self._read(ways[navigation]).decode("utf-8", "replace"))
            page.close()
            found = [(link, title) for link, title in page.links if title]
        else:
            navigation = next(
                (name for name, its in items.items() if its.get("media-type") == "application/x-dtbncx+xml"), None
            )
            if navigation is None:
                return {}
            found = []
            for point in self._xml(ways[navigation]).iter():
                if _tag(point) == "navPoint":
                    label = next((each.text or "" for each in point.iter() if _tag(each) == "text"), "")
                    link = next((each.attrib.get("src", "") for each in point.iter() if _tag(each) == "content"), "")
                    found.append((link, _SPACE.sub(" ", label).strip()))
        folder = posixpath.dirname(ways[navigation])
        titles: dict[str, str] = {}
        for link, title in found:
            titles.setdefault(_way(folder, link), title)
        return titles

    def _xml(self, name: str) -> ElementTree.Element:
        data = self._read(name)
        if b"<!ENTITY" in data:
            raise UnsupportedMedia(f"the book cannot be read as EPUB: {name} defines entities")
        return ElementTree.fromstring(data)  # noqa: S314 - nothing in it is expanded

    def _read(self, name: str) -> bytes:
        with self._packed.open(name) as file:
            data = file.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the book's texts have more than {MOST_BYTES >> 20} MiB")
        return data


def _way(folder: str, link: str) -> str:
    """Where a link in a document of `folder` leads, in the zip."""
    return posixpath.normpath(posixpath.join(folder, unquote(link.partition("#")[0])))


def _tag(element: ElementTree.Element) -> str:
    return _NAMESPACE.sub("", element.tag)


class _Page(HTMLParser):
    """The text of a document, a paragraph a line; its first heading; its links with their texts."""

    _SKIPPED = frozenset(("head", "script", "style", "svg", "math", "rt", "rp", "template"))
    _INLINE = frozenset(
        name
        for names in (
            "a abbr b bdi bdo big cite code del dfn em font i img ins kbd mark q ruby rb s samp small span strong sub sup tt u",
            "var wbr rt rp",
        )
        for name in names.split()
    )

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = [""]
        self._skipping: list[str] = []
        self._in_heading = False
        self._link: str | None = None
        self._said = ""
        self.heading = ""
        self.links: list[tuple[str, str]] = []

    def text(self) -> str:
        lines = (_SPACE.sub(" ", line).strip() for line in self._lines)
        return "\n\n".join(line for line in lines if line)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._SKIPPED:
            self._skipping.append(tag)
        if tag not in self._INLINE:
            self._lines.append("")
        self._in_heading |= bool(re.fullmatch("h[1-6]", tag)) and not self.heading
        if tag == "a":
            self._link, self._said = dict(attrs).get("href"), ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self._INLINE and tag not in self._SKIPPED:
            self._lines.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._skipping and tag == self._skipping[-1]:
            self._skipping.pop()
        if tag not in self._INLINE:
            self._lines.append("")
        if re.fullmatch("h[1-6]", tag):
            self._in_heading = False
            self.heading = _SPACE.sub(" ", self.heading).strip()
        if tag == "a" and self._link is not None:
            self.links.append((self._link, _SPACE.sub(" ", self._said).strip()))
            self._link = None

    def handle_data(self, data: str) -> None:
        if self._skipping:
            return
        self._lines[-1] += data
        self._said += data
        if self._in_heading:
            self.heading += data
