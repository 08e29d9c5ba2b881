"""Mutated frames of one venue through whatever package `feeds` is found first.

Usage: `python -m tests.fuzz.campaign VENUE COUNT SEED`. Prints the folder of that
package and the number of frames at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import feeds.core
from tests.fuzz import test_decode_fuzz, test_stream_fuzz


def main(venue: str, count: int, seed: int) -> None:
    """Run a campaign.

    Raises:
        AssertionError: a frame was accepted with another meaning than the independent decoder's, or one
            that was rejected changed the book.
        KeyError: no such venue.
    """
    subjects = {subject.venue: subject for subject in test_stream_fuzz.SUBJECTS}
    if venue == "binance_usdm":
        test_decode_fuzz.fuzz(count, seed)
    else:
        test_stream_fuzz.fuzz(subjects[venue], count, seed)
    print(Path(feeds.core.__file__).parents[1], count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
