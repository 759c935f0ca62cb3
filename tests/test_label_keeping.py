"""Labels given in the page, kept by the server in a file: nothing is lost, only the page may change it."""

import http.client
import json
import threading

import pytest

from safelight.data.label_files import read_labels
from safelight.errors import DataError, RunError
from safelight.explorer.labelling import LabelFile
from safelight.explorer.serving import Served, serve


def test_changes_are_made_to_what_the_file_holds_by_then(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("note;filename;label\nblurred;é.png;cat\n;b.png;\n")
    labels = LabelFile(path)
    path.write_text(path.read_text() + "mine;c.png;dog\n")  # a spreadsheet, meanwhile
    labels.change({"b.png": ["", "dog"], "new, one.png": ["", "a;b"], "e\u0301.png": ["cat", "fox"]})
    assert labels.read() == {"é.png": "fox", "b.png": "dog", "c.png": "dog", "new, one.png": "a;b"}
    assert path.read_text().startswith("note;filename;label\nblurred;é.png;fox\n;b.png;dog\nmine;c.png;dog\n")
    read = read_labels(path, ["é.png", "b.png", "c.png", "new, one.png"])
    assert [read.classes[number] for number in read.numbers] == ["fox", "dog", "dog", "a;b"]


def test_every_change_is_a_line_that_can_be_undone(tmp_path):
    labels = LabelFile(tmp_path / "labels.csv")
    labels.change({"a": ["", "x"]})
    labels.change({"a": ["x", "y"], "b": ["", "y"]})
    labels.change({"a": ["y", "x"], "b": ["y", ""]}, undo=True)
    assert labels.read() == {"a": "x"}
    assert labels.latest() == [{"a": ["", "x"]}], "what was undone is not undone again"
    lines = [json.loads(line) for line in labels.changes.read_text().splitlines()]
    assert [(line["undo"], len(line["changes"])) for line in lines] == [(False, 1), (False, 2), (True, 2)]
    labels.changes.write_text(labels.changes.read_text() + '{"cut')
    assert labels.latest() == [{"a": ["", "x"]}]
    labels.change({"a": ["x", "z"]})  # someone else's, before the undo of the first arrives
    labels.change({"a": ["x", ""]}, undo=True)
    assert labels.read() == {"a": "z"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("labels.xlsx", b"", "expected a name ending in .csv"),
        ("no/labels.csv", None, "there is none; make it first"),
        ("labels.csv", b"a,b,label,label\n", "expected one column filename and one label"),
        ("labels.csv", "filename,label\na,\u00e9\n".encode("latin-1"), "expected UTF-8"),
    ],
)
def test_files_that_are_no_tables_are_refused_and_left(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((DataError, RunError), match=says):
        LabelFile(path)
    assert content is None or path.read_bytes() == content


def test_links_are_not_followed(tmp_path):
    (tmp_path / "other.csv").write_text("filename,label\n")
    (tmp_path / "labels.csv").symlink_to(tmp_path / "other.csv")
    with pytest.raises(RunError, match="is a link"):
        LabelFile(tmp_path / "labels.csv")


def test_only_the_servers_own_page_may_change_labels(tmp_path):
    labels = LabelFile(tmp_path / "labels.csv")
    with serve({"/": Served("text/html", b"")}, labels=labels, token="secret") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = f"127.0.0.1:{server.server_port}"

        def answer(method="POST", body='{"changes": {"a": ["", "x"]}, "undo": false}', **headers):
            sent = {"Host": own, "Origin": f"http://{own}", "X-Safelight-Token": "secret", **headers}
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            connection.request(method, "/labels", body, {k: v for k, v in sent.items() if v is not None})
            found = connection.getresponse()
            found = found.status, found.read()
            connection.close()
            return found

        for refused in (
            {"Origin": "http://evil.example"},
            {"Origin": None},
            {"Origin": "null"},
            {"X-Safelight-Token": "guess"},
            {"X-Safelight-Token": None},
            {"Host": "evil.example", "Origin": "http://evil.example"},
        ):
            assert answer(**refused)[0] == 403, refused
        assert answer("GET", **{"X-Safelight-Token": "guess"})[0] == 403
        for body in ("", "[", "[]", '{"changes": {"a": "x"}, "undo": false}', '{"changes": {}}', "[" * 9999):
            assert answer(body=body)[0] in (400, 500), body
        long = json.dumps({"changes": {"a": ["", "x" * 201]}, "undo": False})
        assert answer(body=long) == (
            500,
            b"expected names with labels before and after, of at most 200 characters",
        )
        assert not labels.path.exists()
        assert answer()[0] == 200
        assert labels.read() == {"a": "x"}
        assert json.loads(answer("GET")[1]) == {"labels": [["a", "x"]], "changes": [{"a": ["", "x"]}]}
        server.shutdown()


def test_a_server_knows_the_address_it_was_given():
    with serve({}, "127.0.0.2") as server:
        assert server.knows(f"127.0.0.2:{server.server_port}")
        assert not server.knows("127.0.0.2")
        server.server_port = 80  # which a browser leaves out
        assert server.knows("127.0.0.2")
        assert server.knows("localhost:80")
        assert not server.knows("evil.example")
