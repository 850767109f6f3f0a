"""The packages that only tests need are installed completely, or not at all."""

from pathlib import Path

import pytest

from tests.support.packages import Missing, PackageCache


def install_into(folder: Path) -> None:
    (folder / "installed").touch()


def test_packages_are_installed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = PackageCache(tmp_path / "cache")
    folders = {cache.get(["one==1", "two"], install_into) for _ in range(2)}
    (folder,) = folders
    assert folder == tmp_path / "cache" / "one-1+two"
    assert (folder / "installed").exists()
    assert capsys.readouterr().err == f"Installing one-1+two into {folder.resolve()}, for this and later runs.\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, Missing])
def test_failed_installation_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        install_into(folder)
        raise error

    with pytest.raises(error):
        PackageCache(tmp_path).get(["name"], fail)
    assert list(tmp_path.glob("name*")) == []


def test_missing_packages_are_not_tried_again_in_this_run(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise Missing

    cache = PackageCache(tmp_path)
    for install in (fail, install_into):
        with pytest.raises(Missing):
            cache.get(["name"], install)


def test_incomplete_installation_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    incomplete = tmp_path / "name~1"
    incomplete.mkdir()
    PackageCache(tmp_path).get(["name"], install_into)
    assert not incomplete.exists()
