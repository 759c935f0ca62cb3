"""The page of a run as one file: its HTML, style, modules, engine and contents, under a strict policy."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from safelight.errors import RunError
from safelight.explorer.contents import Package, pack
from safelight.latent.onnx import OnnxModels

__all__ = ["bundle", "engine_files", "made_of", "page", "page_sources", "with_label_file"]

ENGINE = {"script": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}
ENTRY = "main.js"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
MADE_OF = re.compile(rb'<meta name="made-of" content="([^"]*)">')
HEAD = 4096  # bytes of a page within which it says what it was made of
FOLDER = resources.files("safelight.explorer") / "page"


def engine_files() -> dict[str, bytes]:
    """onnxruntime-web's script and WebAssembly, which `make page` puts in its place from npm.

    Raises:
        RunError: they are not there.
    """
    place = FOLDER / "engine"
    try:
        return {name: (place / file).read_bytes() for name, file in ENGINE.items()}
    except FileNotFoundError:
        raise RunError(
            "expected the page's engine, which npm fetches; install npm, then run make page in the sources"
        ) from None


def page_sources() -> dict[str, str]:
    """Our own part of the page: each file's name and text."""
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(FOLDER.iterdir(), key=lambda path: path.name)
        if path.is_file()
    }


def bundle(modules: Mapping[str, str], entry: str = ENTRY) -> str:
    """JavaScript modules as one script, as a page from file:// may not load others.

    Each becomes a function that is called once and gives what it exports, those first that others import. Of
    the many ways it knows `import { a, b } from "./x.js";` and `export` before a function, a class or
    a const.

    Args:
        modules: each one's name and text.
        entry: the one that starts the page.

    Raises:
        ValueError: modules import each other in a circle.

    Example:
        >>> modules = {"a.js": "export const one = 1;", "main.js": 'import { one } from "./a.js";'}
        >>> print(bundle(modules))
        const $a = (() => {
        const one = 1;
        return { one };
        })();
        const $main = (() => {
        const { one } = $a;
        return {  };
        })();
    """
    done: dict[str, str] = {}
    waiting: list[str] = []

    def add(name: str) -> None:
        if name in waiting:
            raise ValueError(f"modules import each other in a circle: {' → '.join([*waiting, name])}")
        if name in done:
            return
        waiting.append(name)
        text = modules[f"{name}.js"]
        for _, other in IMPORT.findall(text):
            add(other)
        exported = EXPORT.findall(text)
        text = IMPORT.sub(lambda found: f"const {{{found[1]}}} = ${found[2]};", text)
        text = EXPORT.sub("", text.replace("export {};\n", ""))
        done[waiting.pop()] = (
            f"const ${name} = (() => {{\n{text.strip()}\nreturn {{ {', '.join(exported)} }};\n}})();"
        )

    add(entry.removesuffix(".js"))
    return "\n".join(done.values())


def page(contents: Package, models: OnnxModels | None) -> str:
    """The page as one HTML file, which runs from file:// and may ask for nothing from anywhere.

    Its policy allows the one script inside it and the one style, by their hashes, and what that script makes.

    Args:
        contents: as `page_contents` gives them.
        models: as `page_networks` gives them; None where nothing is to be decoded, and no engine is needed.

    Raises:
        RunError: the engine is not there.
    """
    sources = page_sources()
    script, style = bundle(sources), sources["style.css"]
    values = {
        "made_of": html.escape(str(contents.header.get("made_of", ""))),
        "title": html.escape(str(contents.header["title"])),
        "script": script,
        "script_hash": _hash(script),
        "style": style,
        "style_hash": _hash(style),
        "contents": base64.b64encode(pack(contents)).decode(),
        "engine": "" if models is None else base64.b64encode(pack(_engine(models))).decode(),
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: values[found[1]], sources["index.html"])


def _engine(models: OnnxModels) -> Package:
    """The engine and what it is to run."""
    parts = {**engine_files(), "encoder": models.encoder, "decoder": models.decoder}
    parts |= {name: part for name in ("prior", "base") if (part := getattr(models, name)) is not None}
    arrays = {name: np.frombuffer(part, np.uint8) for name, part in parts.items()}
    return Package({"numbers": models.numbers}, arrays)


def made_of(path: Path) -> str:
    """What a page was made of, as its header's `made_of` said; "" for a file that is none or does not say.

    Args:
        path: of the page.
    """
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        found = MADE_OF.search(file.read(HEAD))
    return html.unescape(found[1].decode(errors="replace")) if found else ""


def with_label_file(content: bytes, name: str, token: str) -> bytes:
    r"""A page as the server of its labels sends it: it may ask that server, whose token it holds.

    Args:
        content: of a page.
        name: of the file of labels, for people.
        token: by which the server knows its own page.

    Example:
        >>> head = b"<meta ... default-src 'none'; ...><meta name=\"made-of\">"
        >>> sent = with_label_file(head, "labels.csv", "secret").decode()
        >>> "default-src 'none'; connect-src 'self'; ..." in sent, '"token" content="secret">' in sent
        (True, True)
    """
    head, rest = content[:HEAD], content[HEAD:]
    head = head.replace(b"default-src 'none'", b"default-src 'none'; connect-src 'self'", 1)
    named = {"token": token, "labels": name}
    metas = "".join(f'<meta name="{key}" content="{html.escape(value)}">' for key, value in named.items())
    return head.replace(b'<meta name="made-of"', metas.encode() + b'<meta name="made-of"', 1) + rest


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
