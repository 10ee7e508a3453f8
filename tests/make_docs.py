"""Write README.md from nbs/index.ipynb and the dataset card from the corpus (no quarto needed): `python tests/make_docs.py`."""
import collections
from pathlib import Path

import nbformat
import pandas as pd

from xlt_nb.corpora import SPLITS, UNITS
from xlt_nb.languages import LANGUAGES, language
from xlt_nb.readers import load_corpus

ROOT = Path(__file__).resolve().parent.parent
XLT17 = ROOT/"data"/"xlt17"

CARD = """# XLT-17

{items} short texts, each in {languages} languages, with event triggers, named entities and relations. Written for the xlt-nb compendium, so that cross-lingual transfer can be studied anywhere, in minutes, without language being confounded with domain, size or label set: every item says the same in every language and is annotated the same way.

- **Format and annotation**: `GUIDELINES.md`. One UTF-8 file a language, one line an item, inline markup; read it with `xlt_nb.readers.load_corpus("xlt17")`.
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


def label_counts(corpus, unit) -> pd.DataFrame: # labels × splits
    "How often each label occurs in English, and so in every language."
    counts = {split: collections.Counter() for split in SPLITS}
    for split, counter in counts.items():
        for e in corpus["en", split]: counter.update(UNITS[unit].labels(e))
    return pd.DataFrame(counts).fillna(0).astype(int).sort_index()


def table_rows(table) -> str:
    "Rows of a Markdown table."
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in table.itertuples(name=None))


def items_of(corpus, lang) -> list: return [e for split in SPLITS for e in corpus[lang, split]]


def changed_share(lang, n) -> str:
    "Share of the items of a language that its second reading changed."
    log = XLT17/"review"/f"{lang}.tsv"
    if not log.exists(): return "not yet read"
    return f"{100*pd.read_csv(log, sep=chr(9), dtype=str, quoting=3).id.nunique()/n:.0f}%"


def language_row(corpus, lang) -> tuple:
    "Name, length of an item, share of triggers of several words, number of different triggers, share changed."
    items = items_of(corpus, lang)
    triggers = [e.words[s.start:s.end] for e in items for s in e.events]
    multiword = 100*sum(len(t) > 1 for t in triggers)/len(triggers)
    forms = {" ".join(t).lower() for t in triggers}
    length = pd.Series([len(e.words) for e in items]).median()
    return language(lang).name, f"{length:.0f}", f"{multiword:.0f}%", len(forms), changed_share(lang, len(items))


def card() -> str:
    "The dataset card, its numbers computed from the files."
    corpus = load_corpus("xlt17")
    english = items_of(corpus, "en")
    events, relations = label_counts(corpus, "events"), label_counts(corpus, "relations")
    languages = pd.DataFrame([language_row(corpus, lang) for lang in LANGUAGES]).set_index(0)
    return CARD.format(
        items=len(english), languages=len(LANGUAGES),
        splits=", ".join(f"{len(corpus['en', split])} {split}" for split in SPLITS),
        n_events=len(events), mentions=events.to_numpy().sum(), event_rows=table_rows(events),
        n_relations=len(relations), relations=relations.to_numpy().sum(), relation_rows=table_rows(relations),
        entities=sum(len(e.entities) for e in english),
        no_event=sum(not e.events for e in english), two_events=sum(len(e.events) > 1 for e in english),
        language_rows=table_rows(languages), test_items=len(corpus["en", "test"]), points=events.test.sum()/100)


if __name__ == "__main__":
    (ROOT/"README.md").write_text(readme(), encoding="utf8")
    (XLT17/"README.md").write_text(card(), encoding="utf8")
