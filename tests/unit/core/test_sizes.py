import pytest

from swin_unetr.errors import ConfigError
from swin_unetr.machine import parse_size, size_in_words


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4GiB", 4 * 2**30), ("500 mb", 5 * 10**8), ("1.5kB", 1500), ("2TB", 2 * 10**12), ("7B", 7)],
)
def test_sizes_with_their_units(text, size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["4", "GB", "-4GB", "4 apples", "0GB", "4,5GB", ""])
def test_what_is_no_size_is_refused(text) -> None:
    with pytest.raises(ConfigError, match=r"max_memory: .* such as 4GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "words"), [(3.84e9, "3.8 GB"), (512e6, "512 MB"), (10**10, "10 GB"), (2048, "2.0 KB"), (7, "7 bytes")]
)
def test_sizes_in_words(size, words) -> None:
    assert size_in_words(size) == words
