"""`python -P -m tools.venues …` is `ringlane venue …`."""

import typer

from tools.verbs.venue import venue

typer.run(venue)
