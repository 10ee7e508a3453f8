"""Write README.md from nbs/index.ipynb and the dataset card from the corpus (no quarto needed): `python tests/make_docs.py`."""
from pathlib import Path

import nbformat
import pandas as pd

from xlt_nb.corpora import SPLITS, corpus_statistics, load_corpus
from xlt_nb.languages import LANGUAGES, language

ROOT = Path(__file__).resolve().parent.parent
XLT17 = ROOT/"data"/"xlt17"

CARD = """# XLT-17

{items} short texts, each in {languages} languages, with event triggers, named entities and relations. Written for the xlt-nb compendium, so that cross-lingual transfer can be studied anywhere, in minutes, without language being confounded with domain, size or label set: every item says the same in every language and is annotated the same way.

- **Format and annotation**: `GUIDELINES.md`. One UTF-8 file a language, one line an item, inline markup; read it with `xlt_nb.corpora.load_corpus("xlt17")`.
- **Splits** (`splits.tsv`): {splits}, by item, the same in every language; no translation of a test item is in training.
- **Event types** ({n_events}): MINION's, after ACE. **Relations** ({n_relations}): names of SMiLER's labels. **Entities**: PER, ORG, LOC, TIME, MISC.

## How it was written

Machine-authored, machine-reviewed, not by native annotators: a large language model wrote the English items to a plan (types, relations, regions, subjects, variety of wording), then wrote each language's items as translation equivalents in the style of native news and encyclopaedias. A second reading by a fresh instance, side by side with English, corrected grammar, naturalness, meaning, names and annotation; every change is logged in `review/`. All people, organisations and happenings are invented; any likeness to real ones is accidental. No sentence was copied from elsewhere.

## Statistics

Per language: {mentions} event mentions, {entities} entities, {relations} relations; {no_event} items without an event, {two_events} with two or more.

| event type | train | dev | test |
|---|---|---|---|
{event_rows}

| relation | train | dev | test |
|---|---|---|---|
{relation_rows}

| language | words an item (median) | multi-word triggers | trigger forms | items changed in the second reading |
|---|---|---|---|---|
{language_rows}

## Known weaknesses

- The author and the reviewer are models of one kind: systematic faults that they share (translationese, over-tidy prose, doubtful transliteration of invented names) remain. Native speakers have not checked it.
- The label prior is balanced by design and unlike that of real text; absolute scores do not carry over to real corpora.
- Items were conceived in English and translated, so English is the centre of the parallel text.
- Small: {test_items} test items a language; one point of event F1 is about {points:.1f} triggers.
- Word boundaries of Japanese come from a dictionary (IPADIC by Janome); a trigger or name may share a dictionary word with its neighbours.

## Licence

CC BY 4.0.
"""


def readme() -> str:
    "Markdown of the index notebook: prose, and the Markdown its code displays."
    parts = []
    for cell in nbformat.read(ROOT/"nbs"/"index.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown": parts.append(cell.source)
        elif cell.cell_type == "code":
            parts += [o.data["text/markdown"] for o in cell.get("outputs", []) if "data" in o and "text/markdown" in o.data]
    return "\n\n".join(p.strip() for p in parts) + "\n"


def _rows(corpus, labels_of):
    count = {s: pd.Series([x for e in corpus["en", s] for x in labels_of(e)]).value_counts() for s in SPLITS}
    table = pd.DataFrame(count).fillna(0).astype(int).sort_index()
    return "\n".join(f"| {k} | " + " | ".join(map(str, r)) + " |" for k, r in zip(table.index, table[list(SPLITS)].to_numpy())), len(table), int(table.to_numpy().sum())


def card() -> str:
    "The dataset card, its numbers computed from the files."
    corpus = load_corpus("xlt17")
    english = [e for s in SPLITS for e in corpus["en", s]]
    event_rows, n_events, mentions = _rows(corpus, lambda e: [s.label for s in e.events])
    relation_rows, n_relations, relations = _rows(corpus, lambda e: [r.label for r in e.relations])
    rows = []
    for lang in LANGUAGES:
        items = [e for s in SPLITS for e in corpus[lang, s]]
        triggers = [e.words[s.start:s.end] for e in items for s in e.events]
        log = XLT17/"review"/f"{lang}.tsv"
        changed = f"{100*pd.read_csv(log, sep=chr(9), dtype=str, quoting=3).id.nunique()/len(items):.0f}%" if log.exists() else "not yet read"
        rows.append(f"| {language(lang).name} | {pd.Series([len(e.words) for e in items]).median():.0f} | {100*sum(len(t) > 1 for t in triggers)/len(triggers):.0f}% | {len({' '.join(t).lower() for t in triggers})} | {changed} |")
    test_triggers = sum(len(e.events) for e in corpus["en", "test"])
    return CARD.format(items=len(english), languages=len(LANGUAGES), splits=", ".join(f"{len(corpus['en', s])} {s}" for s in SPLITS), n_events=n_events, n_relations=n_relations, mentions=mentions, relations=relations,
        entities=sum(len(e.entities) for e in english), no_event=sum(not e.events for e in english), two_events=sum(len(e.events) > 1 for e in english), event_rows=event_rows, relation_rows=relation_rows,
        language_rows="\n".join(rows), test_items=len(corpus["en", "test"]), points=test_triggers/100)


if __name__ == "__main__":
    (ROOT/"README.md").write_text(readme(), encoding="utf8")
    (XLT17/"README.md").write_text(card(), encoding="utf8")
