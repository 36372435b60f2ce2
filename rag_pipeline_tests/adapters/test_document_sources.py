from pathlib import Path

import pytest

from rag_pipeline.adapters import document_sources
from rag_pipeline.adapters.document_sources import local_root, open_source
from rag_pipeline.adapters.fsspec_source import FsspecSource
from rag_pipeline.adapters.local_folder import LocalFolderSource
from rag_pipeline.errors import MissingExtraError, SettingsError
from rag_pipeline.ports import DocumentSource
from rag_pipeline.settings import SourceSettings


def source_of(url: str, base: Path = Path("/base")) -> DocumentSource:
    return open_source(SourceSettings(name="test", url=url), base=base)


@pytest.mark.parametrize("url", ["docs", "./docs", "/srv/docs", "~/docs", "file:///srv/docs", "../docs", "."])
def test_a_path_is_a_local_folder(url: str) -> None:
    assert isinstance(source_of(url), LocalFolderSource)


@pytest.mark.parametrize("url", ["s3://bucket/docs", "memory://docs", "github://a:b@main"])
def test_any_other_url_goes_to_fsspec(url: str) -> None:
    assert isinstance(source_of(url), FsspecSource)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("./docs", "docs/a.txt"),
        ("docs/", "docs/a.txt"),
        (".", "a.txt"),
        ("../docs", "../docs/a.txt"),
        ("/srv//docs", "/srv/docs/a.txt"),
        ("file:///srv/docs/", "file:///srv/docs/a.txt"),
        ("s3://bucket/docs/", "s3://bucket/docs/a.txt"),
        ("ftp://user:password@host/docs", "ftp://host/docs/a.txt"),
    ],
)
def test_an_address_is_the_same_on_every_machine_and_tells_no_password(url: str, address: str) -> None:
    assert source_of(url).uri("a.txt") == address


def test_relative_roots_start_at_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("text")
    assert [file.path for file in source_of("docs", tmp_path).list_files().files] == ["a.txt"]
    assert local_root("file:///srv/my%20docs", base=tmp_path) == Path("/srv/my docs")
    assert local_root("s3://bucket", base=tmp_path) is None


@pytest.mark.parametrize(("url", "extra"), [("s3://bucket/docs", "s3"), ("gs://bucket/docs", "gcs")])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    monkeypatch.setattr(document_sources, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"\.\[{extra}\]"):
        source_of(url)


def test_an_unknown_protocol_is_refused_with_the_field() -> None:
    with pytest.raises(SettingsError, match=r"sources\.test\.url: 'gopher'"):
        source_of("gopher://hole/docs")
