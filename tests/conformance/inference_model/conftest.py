"""What the default models are packed of, installed once from the catalog."""

import itertools
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lanai.folders import Folders

PECULIAR = [
    "",
    " ",
    "\n",
    "a\u0301 e\u0301\u0323 ﬁ ½ ① Ⅷ",
    "\u200b\u200d\ufeff zero width",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇦🇺",
    "Привет, мир! Ελληνικά עברית العربية हिन्दी ไทย 한국어 日本語 中文",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 🜚 \U0010ffff",
    "\x00\x01\x1f\x7f\x85",
    "0123456789 1,234.56 3.14e-10 ٣٤ ４２ 1st 2nd",
    "a  b   c    d     e\t\tf\n\n\ng \n \n h\r\n\r\ni" + " " * 12 + "j",
    "   leading and trailing   ",
    "I'll we've don't CAN'T it's 'quoted' ''''",
    "def f(x):\n\treturn {'a': [1, 2, x**2]}  # comment\n\n\nclass A:\n    pass\n",
    "<|im_start|>system\n<|im_end|> <|endoftext|><repo_name><file_sep>",
    "<bos><eos><pad><unk><mask><unused5><start_of_turn>user\n<end_of_turn>",
    "<0x41><0xFF> ▁under▁score ▁",
    "<table><tr><td>cell</td></tr></table> <b>bold</b></s><s> <h1>x</h1>",
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\path\\file",
    "aaaaaaaaaaaaaaaaaaaaaaaa!!!!!!!!!!!!========----____~~~~",
]


def all_processors() -> None:
    """Nothing else of the tests runs beside these, unless several workers do."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))


@pytest.fixture(scope="module", autouse=True)
def _all_processors_to_load() -> None:
    all_processors()


@pytest.fixture(autouse=True)
def _all_processors(_all_processors_to_load: None) -> None:
    all_processors()


def installed(name: str) -> Path:
    """The model's folder; pulled when it is missing."""
    folder = Folders.standard().models / name
    if not folder.is_dir():
        from inference.catalog import Catalog

        Catalog(folder.parent).pull(name)
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return installed("smollm2-135m-instruct-source")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    return installed("gemma-3-270m-source")


@pytest.fixture(scope="session")
def texts(data_folder: Path) -> list[str]:
    """Some 500 texts: peculiar ones, real lines of prose and mathematics, random mixtures."""
    choose = random.Random(5)
    prose = (data_folder / "text/wikitext2_valid.txt").read_text().splitlines()
    sums = (data_folder / "text/gsm8k_test.jsonl").read_text().splitlines()
    lines = [line for line in prose if line.strip()]
    mixed = [
        "".join(choose.choices(PECULIAR + lines[:50], k=3))[: choose.randrange(1, 200)]
        for _ in range(150)
    ]
    spelled = ["".join(pair) for pair in itertools.product(["a", " ", "\n", "9", "é"], repeat=3)]
    problems = [json.loads(line)["question"] for line in sums[:100]]
    return PECULIAR + lines[::40][:120] + problems + mixed + spelled


@pytest.fixture(scope="session")
def some_of(texts: list[str]) -> Callable[[int], list[str]]:
    """So many of them: what is peculiar, and others of every kind."""
    others = texts[len(PECULIAR) :]

    def chosen(count: int) -> list[str]:
        wanted = count - len(PECULIAR)
        return PECULIAR + others[:: len(others) // wanted][:wanted]

    return chosen
