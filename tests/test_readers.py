"""Readers of SMiLER, Multi-CrossRE, Universal Dependencies and column files, on files of the published form, on broken ones, and on the real ones."""
import collections, itertools, json, lzma, random, re, sys, zipfile

import pandas as pd
import pytest

from xlt_nb.core import XltError, data_dir, tables_dir
from xlt_nb.corpora import CORPORA, NO_RELATION, SPLITS, label_priors, n_labelled, parallel_subset, quirk_table
from xlt_nb.readers import (CROSSRE_DOMAINS, SMILER_HEADER, SMILER_RELATIONS, UPOS, _read_conllu, amounts_table, is_here,
                            litmus_index, load_corpus, parallel_positions, published_index, read_litmus, read_published,
                            readers_table, statistics_table, write_corpus_tables)

# ---------------------------------------------------------------- files of each form

def smiler_row(label="birth-place", text="<e1>Marie Curie</e1> was born in <e2>Warsaw</e2> .", lang="en", id="1"): return "\t".join([id, "Marie Curie", "Warsaw", label, text, lang])


def smiler_table(rows): return "\n".join([SMILER_HEADER, *rows]) + "\n"


def smiler_texts(lang, n=40, start=0):
    labels = [SMILER_RELATIONS[i % 5] for i in range(n)]
    return [smiler_row(NO_RELATION if i % 7 == 0 else labels[i], f"Nr <e1>Name{start + i} X</e1> é <e2>{start + i}</e2>.", lang, str(i)) for i in range(n)]


def write_smiler(root, lang="uk", train=None, test=None, stem=None):
    folder = root/"smiler"; folder.mkdir(exist_ok=True)
    for split, rows in (("train", train or smiler_texts(lang)), ("test", test or smiler_texts(lang, 8, 1000))):
        (folder/f"{stem or lang}_corpora_{split}.tsv").write_text(smiler_table(rows), encoding="utf8")
    return folder


def crossre_lines(lang, split, n=12):
    "Sentences of four entities, two related; German lost the third entity of every other sentence."
    for i in range(n):
        lost = lang == "de" and i % 2
        ner = [[0, 0, "person"], [2, 3, "organisation"], [5, 5, "location"], [7, 7, "award"]]
        relations = [[0, 0, 2, 3, "role", "", False, False], [0, 0, 2, 3, "artifact", "", False, False], [5, 5, 0, 0, "physical", "", False, False]]
        keep = [k for k in range(4) if not (lost and k == 2)]
        yield json.dumps({"doc_key": f"ai-{split}-{i}", "sentence": f"{split}{i}p of A B in C won {lang}".split(), "ner": [ner[k] for k in keep], "ner_mapping_to_source": keep,
            "relations": relations[:2] if lost else relations, "relations_mapping_to_source": list(range(2 if lost else 3))})


def write_crossre(root, languages=("en", "de"), n=12):
    for lang in languages:
        folder = root/"multicrossre"/lang; folder.mkdir(parents=True)
        for domain, split in itertools.product(CROSSRE_DOMAINS, SPLITS): (folder/f"{domain}-{split}.json").write_text("\n".join(crossre_lines(lang, split, n)) if domain == "ai" else "", encoding="utf8")
    return root/"multicrossre"


def conllu(lang="es", n=40, id="n{:02}{:03}011"):
    word = lambda i, form, tag: "\t".join([str(i), form, "_", tag, *"______"])
    one = lambda k: "\n".join([f"# sent_id = {id.format(1 + k//30, k)}", "# text = x", "1-2\tdel" + "\t_"*8, word(1, "de", "ADP"), word(2, "el", "DET"), word(3, f"sol{lang}{k}", "NOUN"), "3.1\tva" + "\t_"*8])
    return "\n\n".join(map(one, range(n))) + "\n\n"


def write_ud(root, name="es_pud-ud-test", text=None):
    (root/"ud").mkdir(exist_ok=True)
    (root/"ud"/f"{name}.conllu").write_text(conllu() if text is None else text, encoding="utf8")


def write_conll(root, text, lang="sw", name="train.conll"):
    (root/"conll"/lang).mkdir(parents=True, exist_ok=True)
    (root/"conll"/lang/name).write_bytes(text.encode())


BIO = "-DOCSTART- O\n\n# a comment\nAna B-PER\nPaz I-PER\nvive O\nen O\nLima B-LOC\n\nHoy O\nllueve O\n"

# ---------------------------------------------------------------- SMiLER


def test_smiler_lines_become_examples(tmp_path):
    write_smiler(tmp_path, "en", stem="en-full", test=[smiler_row(), smiler_row("has-lifespan", "In <e2>1867</e2> <e1>she</e1> was born .")])
    corpus = load_corpus("smiler", ["en"], tmp_path)
    first, second = corpus["en", "test"]
    assert first.words == ("Marie", "Curie", "was", "born", "in", "Warsaw", ".") and first.entities == ((0, 2, "entity"), (5, 6, "entity")) and first.relations == ((0, 1, "birth-place"),)
    assert [second.words[s.start] for s in second.entities] == ["she", "1867"], "the head is e1, wherever it stands"
    assert len(corpus.relation_types) == 35 and NO_RELATION not in corpus.relation_types
    train, dev = corpus["en", "train"], corpus["en", "dev"]
    assert len(train) + len(dev) == 40 and 0 < len(dev) < 10 and sum(n_labelled(e, "relations") for e in train + dev) == 34
    again = load_corpus("smiler", ["en"], tmp_path)
    assert again.examples == corpus.examples and again.checksums == corpus.checksums


@pytest.mark.parametrize("row, what, kept", [
    (smiler_row(text=""), "empty texts", False), (smiler_row(text=" "), "empty texts", False), (smiler_row(text='""'), "quotation marks", False),
    (smiler_row(text="<e1>A</e1>\tin\t<e2>B</e2>"), "stray tab", True), (smiler_row(text="<e1>A</e1> in B"), "without both entities", False), (smiler_row(text="A in B"), "without both entities", False),
    (smiler_row(text="<e1>A</e1> in <e2>B"), "unclosed", False), (smiler_row(text="<e1>A <e1>in</e1> <e2>B</e2>"), "doubled", False), (smiler_row(text="A</e1> in <e2>B</e2>"), "unopened", False),
    (smiler_row(text="<e1>Bank of <e2>Spain</e2></e1>"), "overlap", True), (smiler_row(text="<e1>A B <e2>C</e1> D</e2>"), "overlap", True), (smiler_row(text="<e1></e1> in <e2>B</e2>"), "empty entity", False),
    (smiler_row(text='"""Who?"" asked <e1>A</e1> in <e2>B</e2>"'), "quotation marks", True), (smiler_row("is-wher"), "unknown label", False), (smiler_row(lang="es"), "another language", False),
    ("1\tA", "fewer than six", False), (smiler_row() + "\t\t", "", True)])
def test_smiler_quirks_are_counted(row, what, kept, tmp_path):
    write_smiler(tmp_path, "en", smiler_texts("en"), [row, smiler_row("is-where", "<e1>Q</e1> in <e2>R</e2>")], stem="en-full")
    corpus = load_corpus("smiler", ["en"], tmp_path)
    assert len(corpus["en", "test"]) == 1 + kept
    found = {kind: n for (_, kind), n in corpus.quirks.items()}
    assert sum(n for kind, n in found.items() if what and what in kind) == bool(what) and all(any(kind in note for note in corpus.notes) for kind in found)
    if "asked" in row: assert corpus["en", "test"][0].words[:4] == ('"', "Who", "?", '"')


def test_smiler_train_loses_what_is_tested_on(tmp_path):
    rows = smiler_texts("uk")
    write_smiler(tmp_path, "uk", rows, [rows[3], rows[4]] + smiler_texts("uk", 3, 500))
    corpus = load_corpus("smiler", ["uk"], tmp_path)
    texts = {s: {e.words for e in corpus["uk", s]} for s in SPLITS}
    assert not texts["test"] & (texts["train"] | texts["dev"]) and not texts["train"] & texts["dev"] and sum(map(len, texts.values())) == 38 + 5
    assert corpus.quirks["uk", "training texts that are in the test set, left out"] == 2 and any("machine-translated" in note for note in corpus.notes)


def test_smiler_prefers_the_full_english_set(tmp_path):
    write_smiler(tmp_path, "en", test=smiler_texts("en", 3), stem="en-small")
    assert len(load_corpus("smiler", ["en"], tmp_path)["en", "test"]) == 3
    write_smiler(tmp_path, "en", test=smiler_texts("en", 5), stem="en-full")
    assert len(load_corpus("smiler", ["en"], tmp_path)["en", "test"]) == 5


@pytest.mark.parametrize("form", ["xz", "zip", "7z"])
def test_smiler_packed(form, tmp_path):
    folder = write_smiler(tmp_path, "uk")
    plain, files = load_corpus("smiler", ["uk"], tmp_path), sorted(folder.glob("*.tsv"))
    if form == "xz":
        for p in files: p.with_name(p.name + ".xz").write_bytes(lzma.compress(p.read_bytes()))
    elif form == "zip":
        with zipfile.ZipFile(folder/"smiler.zip", "w") as z:
            for p in files: z.write(p, f"SMiLER/{p.name}")
    else:
        py7zr = pytest.importorskip("py7zr")
        with py7zr.SevenZipFile(folder/"smiler.7z", "w") as z:
            for p in files: z.write(p, f"SMiLER/{p.name}")
    for p in files: p.unlink()
    packed = load_corpus("smiler", ["uk"], tmp_path)
    assert packed.examples == plain.examples and packed.quirks == plain.quirks


def test_smiler_missing_or_foreign_files_say_so(tmp_path, monkeypatch):
    (tmp_path/"smiler").mkdir()
    with pytest.raises(XltError, match="uk_corpora_train.tsv"): load_corpus("smiler", ["uk"], tmp_path)
    with pytest.raises(XltError, match="language: 'ja' is not valid"): load_corpus("smiler", ["ja"], tmp_path)
    monkeypatch.setitem(sys.modules, "py7zr", None)
    (tmp_path/"smiler"/"smiler.7z").write_bytes(b"7z")
    with pytest.raises(XltError, match="smiler.7z: reading .7z needs the package py7zr"): load_corpus("smiler", ["uk"], tmp_path)
    (tmp_path/"smiler"/"smiler.7z").rename(tmp_path/"smiler"/"smiler.zip")
    with pytest.raises(XltError, match="smiler.zip: cannot be unpacked"): load_corpus("smiler", ["uk"], tmp_path)
    write_smiler(tmp_path, "uk")
    for text, reason in (("", ":1: the header"), ("id,text\n", ":1: the header"), (smiler_table([]), ":1: there are no lines"), (smiler_table(["x", "y"]), ":2: lines of fewer than six fields")):
        (tmp_path/"smiler"/"uk_corpora_test.tsv").write_text(text)
        with pytest.raises(XltError, match=f"uk_corpora_test.tsv{reason}"): load_corpus("smiler", ["uk"], tmp_path)

# ---------------------------------------------------------------- Multi-CrossRE


def test_crossre_splits_are_safe_and_unrelated_pairs_equal(tmp_path):
    write_crossre(tmp_path, n=40)
    corpus = load_corpus("multicrossre", root=tmp_path)
    assert corpus.parallel and corpus.languages == ("en", "de")
    check_crossre(corpus)
    assert [len(corpus["en", s]) for s in SPLITS] == [80 - len(corpus["en", "dev"]), len(corpus["en", "dev"]), 40] and 0 < len(corpus["en", "dev"]) < 20
    stated = collections.Counter(r.label for e in corpus["en", "test"] for r in e.relations)
    assert stated == {"artifact": 40, "physical": 40, NO_RELATION: 80}, "of two labels the first in the alphabet stays"
    assert corpus.quirks["en", "second labels of a pair, dropped"] == 120 and corpus.quirks["de", "entities of the English sentence that were not projected"] == 60
    alone = load_corpus("multicrossre", ["de"], tmp_path)
    assert alone.examples == {k: v for k, v in corpus.examples.items() if k[0] == "de"} and {lang for lang, _ in alone.quirks} == {"de"}
    same = parallel_subset(corpus)
    assert same and set(same) < {f"ai-test-{i}" for i in range(0, 40, 2)}, "whole sentences, but not those where an unrelated pair stands in for one lost elsewhere"
    assert len({sum(len(e.relations) for e in corpus[lang, "test"] if e.id in same) for lang in ("en", "de")}) == 1


def test_parallel_positions_from_files_or_from_the_table(tmp_path, outputs):
    write_crossre(tmp_path, n=40)
    corpus = load_corpus("multicrossre", root=tmp_path)
    same = set(parallel_subset(corpus))
    assert {corpus["de", "test"][k].id for k in parallel_positions("multicrossre", tmp_path)} == same
    committed = pd.read_csv(outputs/"tables"/"corpus_multicrossre_parallel.csv").position
    assert list(parallel_positions("multicrossre", tmp_path/"nowhere")) == list(committed), "a folder of one's own writes no table"
    sizes = pd.read_csv(outputs/"tables"/"corpus_multicrossre.csv").query("split == 'test'").texts
    assert committed.is_unique and committed.is_monotonic_increasing and 0 <= committed.min() and committed.max() < sizes.min()


def test_crossre_runs_know_the_english_they_depend_on(tmp_path):
    home = write_crossre(tmp_path)
    before = load_corpus("multicrossre", ["de"], tmp_path).checksums
    path = home/"en"/"ai-test.json"
    path.write_text(path.read_text().replace("test7p", "changed"))
    after = load_corpus("multicrossre", ["de"], tmp_path).checksums
    assert {k for k in before if before[k] != after[k]} == {"multicrossre/en/ai-test", "multicrossre/splits"}


def check_crossre(corpus):
    "What must hold of any Multi-CrossRE: one split in all languages, no leak by translation, as many unrelated pairs everywhere, spans apart."
    ids = {lang: {s: [e.id for e in corpus[lang, s]] for s in SPLITS} for lang in corpus.languages}
    assert all(x == ids["en"] for x in ids.values())
    english = {s: {e.words for e in corpus["en", s]} for s in SPLITS}
    assert not english["test"] & (english["train"] | english["dev"]) and not english["train"] & english["dev"]
    for s in SPLITS:
        assert len({sum(r.label == NO_RELATION for e in corpus[lang, s] for r in e.relations) for lang in corpus.languages}) == 1
    for (lang, _), part in corpus.examples.items():
        for e in part:
            words = [i for x in e.entities for i in range(x.start, x.end)]
            assert len(words) == len(set(words)) and all(0 <= i < len(e.words) for i in words)
            assert len({r[:2] for r in e.relations}) == len(e.relations) and all(r.head != r.tail for r in e.relations)
            related = {frozenset(r[:2]) for r in e.relations if r.label != NO_RELATION}
            assert not related & {frozenset(r[:2]) for r in e.relations if r.label == NO_RELATION}


def test_crossre_same_unrelated_pairs_where_nothing_was_lost(tmp_path):
    write_crossre(tmp_path, n=40)
    corpus = load_corpus("multicrossre", root=tmp_path)
    whole = [(a, b) for a, b in zip(corpus["en", "test"], corpus["de", "test"]) if len(a.entities) == len(b.entities)]
    missing = [set(a.relations) - set(b.relations) for a, b in whole]
    assert len(whole) == 20 and not any(missing), "English pairs are drawn in German too; German may have a few more in place of lost ones"


@pytest.mark.parametrize("change, reason", [(dict(ner=[[0, 9, "person"]]), "entity"), (dict(ner=[[3, 2, "person"]]), "entity"), (dict(ner=[[-1, 0, "person"]]), "entity"), (dict(ner=[[0, True, "person"]]), "entity"),
    (dict(ner=[[0, 0, "persona"]], relations=[], ner_mapping_to_source=[0]), "nearest: person"), (dict(ner={}), "ner is not a list"), (dict(relations=[[0, 0, 1, 1, "role"]]), "relation"), (dict(relations=[[0, 0, 2, 3, "rol"]]), "nearest: role"),
    (dict(relations=[[[0], 0, 2, 3, "role"]]), "relation"), (dict(ner_mapping_to_source=[0]), "ner_mapping_to_source"), (dict(ner_mapping_to_source=[0, 0, 1, 2]), "ner_mapping_to_source"),
    (dict(sentence=[]), "no sentence"), (dict(sentence=["a", 1]), "list of strings"), (dict(doc_key=7), "doc_key"), (dict(doc_key="ai-test-1"), "there twice")])
def test_crossre_errors_have_a_place(change, reason, tmp_path):
    path = write_crossre(tmp_path)/"de"/"ai-test.json"
    first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([second, json.dumps(json.loads(first) | change), *rest]))
    with pytest.raises(XltError, match=f"ai-test.json:2: .*{re.escape(reason)}"): load_corpus("multicrossre", ["de"], tmp_path)


def test_crossre_needs_all_sentences(tmp_path):
    path = write_crossre(tmp_path)/"de"/"ai-test.json"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(XltError, match="sentence ai-test-0 is missing"): load_corpus("multicrossre", ["de"], tmp_path)
    path.unlink()
    with pytest.raises(XltError, match="neither ai-test.json nor"): load_corpus("multicrossre", ["de"], tmp_path)


def test_crossre_drops_training_texts_that_are_tested(tmp_path):
    home = write_crossre(tmp_path)
    for lang in ("en", "de"):
        train = (home/lang/"ai-train.json").read_text().replace("train3p", "test3p")
        (home/lang/"ai-train.json").write_text(train)
    corpus = load_corpus("multicrossre", root=tmp_path)
    check_crossre(corpus)
    assert not {"ai-train-3"} & {e.id for lang in ("en", "de") for s in SPLITS for e in corpus[lang, s]}

# ---------------------------------------------------------------- Universal Dependencies


def test_ud_words_and_splits(tmp_path):
    for lang in ("es", "fr"): write_ud(tmp_path, f"{lang}_pud-ud-test", conllu(lang, 200))
    write_ud(tmp_path, "uk_iu-ud-test", conllu("uk", 50, "s{}-{}").replace("# sent_id = s1-25\n", "# newdoc id = b\n# sent_id = s1-25\n").replace("# sent_id = s1-0\n", "# newdoc id = a\n# sent_id = s1-0\n"))
    corpus = load_corpus("ud", root=tmp_path)
    assert corpus["es", "train"][0].words[:2] == ("de", "el") and corpus["es", "train"][0].tags == ("ADP", "DET", "NOUN") and corpus.tag_types == UPOS
    assert [[e.id for e in corpus["es", s]] for s in SPLITS] == [[e.id for e in corpus["fr", s]] for s in SPLITS]
    shares = [len(corpus["es", s])/200 for s in SPLITS]
    assert all(abs(x - y) < 0.12 for x, y in zip(shares, (0.6, 0.1, 0.3)))
    assert [len(corpus["uk", s]) for s in SPLITS] == [50, 0, 0], "two documents, both of which begin in the first six tenths"
    assert corpus.quirks["es", "ranges of tokens, passed over"] == corpus.quirks["es", "empty nodes, passed over"] == 200 and not corpus.parallel
    assert all(n_labelled(e, "tags") == 1 for e in corpus["es", "train"])


def sentences_of(path):
    "Words and tags of a CoNLL-U file as the package `conllu` reads them."
    conllu_package = pytest.importorskip("conllu")
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf8") as f: parsed = conllu_package.parse(f.read())
    words = [[t for t in sentence if isinstance(t["id"], int)] for sentence in parsed]
    return [(s.metadata["sent_id"], tuple(t["form"] for t in w), tuple(t["upos"] for t in w)) for s, w in zip(parsed, words)]


def test_conllu_reads_the_same_sentences(tmp_path):
    write_ud(tmp_path)
    path = tmp_path/"ud"/"es_pud-ud-test.conllu"
    assert [(x.id, x.words, x.tags) for x in _read_conllu(path)] == sentences_of(path) and len(sentences_of(path)) == 40


@pytest.mark.parametrize("lang", ["ar", "fa", "ko", "uk"])
def test_conllu_reads_the_same_treebanks(lang, data_root):
    from pathlib import Path
    path = next((Path(data_root)/"ud").glob(f"{lang}_*.conllu*"))
    assert [(x.id, x.words, x.tags) for x in _read_conllu(path)] == sentences_of(path)


def test_ud_takes_pud_or_the_only_treebank(tmp_path):
    write_ud(tmp_path, "es_gsd-ud-test"); write_ud(tmp_path, "es_ancora-ud-test")
    with pytest.raises(XltError, match="2 files es_.*ancora"): load_corpus("ud", ["es"], tmp_path)
    write_ud(tmp_path, "es_pud-ud-test")
    assert load_corpus("ud", ["es"], tmp_path).checksums.keys() == {"ud/es/es_pud-ud-test.conllu"}
    with pytest.raises(XltError, match="0 files fr_"): load_corpus("ud", ["fr"], tmp_path)


@pytest.mark.parametrize("old, new, reason", [("\tNOUN\t", "\tNON\t", r":6: tag: 'NON' is not valid \(nearest: NOUN"), ("3\tsol", "5\tsol", r":6: the id is '5', expected 3"), ("2\tel", "x\tel", ":5: the id is 'x'"),
    ("\tDET\t", "\t", ":5: 9 columns"), ("3\tsol", "3\t", ":6: "), ("sent_id", "id", "no sent_id")])
def test_ud_errors_have_a_place(old, new, reason, tmp_path):
    write_ud(tmp_path, text=conllu().replace(old, new, 1) if new != "3\t" else conllu(lang="").replace("3\tsol0", "3\t"))
    with pytest.raises(XltError, match=f"es_pud-ud-test.conllu.*{reason}"): load_corpus("ud", ["es"], tmp_path)


def test_ud_refuses_ids_that_are_there_twice(tmp_path):
    write_ud(tmp_path, text=conllu()*2)
    with pytest.raises(XltError, match=r"es_pud-ud-test.conllu:\d+: the sentence before this line has the sent_id n01000011 of another"): load_corpus("ud", ["es"], tmp_path)

# ---------------------------------------------------------------- column files


@pytest.mark.parametrize("text", [BIO, BIO.replace("\n", "\r\n"), "\ufeff" + BIO, BIO.replace(" ", "\t"), BIO.replace("B-PER", "I-PER").replace("B-LOC", "I-LOC"), BIO.replace("B-", "B_").replace("I-", "I_"),
    BIO.replace(" B-", " NNP _ B-").replace(" I-", " NNP _ I-").replace(" O", " X _ O"), BIO + "\n\n\n", BIO.rstrip("\n")])
def test_columns_in_every_dress(text, tmp_path):
    write_conll(tmp_path, text)
    corpus = load_corpus("conll", root=tmp_path)
    first, second = corpus["sw", "train"]
    assert first.words == ("Ana", "Paz", "vive", "en", "Lima") and first.entities == ((0, 2, "PER"), (4, 5, "LOC")) and second.words == ("Hoy", "llueve") and first.doc == second.doc != ""
    assert corpus.entity_types == ("LOC", "PER") and corpus["sw", "test"] == [] and corpus.languages == ("sw",)


def test_columns_iob1_parts_neighbours(tmp_path):
    write_conll(tmp_path, "a I-PER\nb B-PER\nc I-LOC\n")
    corpus = load_corpus("conll", ["sw"], tmp_path)
    assert corpus["sw", "train"][0].entities == ((0, 1, "PER"), (1, 2, "PER"), (2, 3, "LOC")) and corpus.quirks["sw", "IOB1 tags, turned into BIO2"] == 2


@pytest.mark.parametrize("text, reason", [("a B-PER\nb\n", r":2: 'b' is not a token"), ("a B-PER\nNew York B-LOC\n", ":2: .* in 2 columns"), ("a S-PER\n", ":1: "), ("a B-\n", ":1: "), ("a\tO\n\tO\n", ":2: "),
    ("a B-PER\nb I-LOC\n", ":2: an I that continues nothing, so not BIO2; but line 1"), ("a O\nb I-LOC\nc O\nd B-LOC\n", ":2: .*but line 4")])
def test_columns_errors_have_a_place(text, reason, tmp_path):
    write_conll(tmp_path, text)
    with pytest.raises(XltError, match=f"train.conll{reason}"): load_corpus("conll", ["sw"], tmp_path)


def test_columns_files(tmp_path):
    write_conll(tmp_path, BIO, name="test.iob2"); write_conll(tmp_path, BIO, "am", "train.txt")
    (tmp_path/"conll"/"sw"/"dev.bio.xz").write_bytes(lzma.compress(BIO.encode()))
    corpus = load_corpus("conll", root=tmp_path)
    assert {k: len(v) for k, v in corpus.examples.items() if v} == {("am", "train"): 2, ("sw", "dev"): 2, ("sw", "test"): 2} and any("texts in both dev and test: sw 2" == n for n in corpus.notes)
    write_conll(tmp_path, BIO, name="test.txt")
    with pytest.raises(XltError, match="both test.txt and test.iob2"): load_corpus("conll", ["sw"], tmp_path)
    (tmp_path/"conll"/"rw").mkdir()
    with pytest.raises(XltError, match="rw: no file train, dev or test"): load_corpus("conll", ["rw"], tmp_path)
    (tmp_path/"conll"/"no-such-tongue").mkdir()
    with pytest.raises(XltError, match="no-such-tongue"): load_corpus("conll", root=tmp_path)

# ---------------------------------------------------------------- fuzzing

PIECES = ["\t", "\n", "\r\n", " ", "<e1>", "</e1>", "<e2>", "</e2>", '"', '""', "is-where", "no_relation", "uk", "O", "B-", "I-PER", "B-LOC", "#", "# sent_id =", "-DOCSTART-", "1", "2", "-1", "99999", "1-2", "3.1", "[", "]", "{", "}",
    ",", ":", "null", "true", "1e999", "\\ud800", "\\u0000", "\x00", "\ufeff", "é", "東", "\u200c", "_", "NOUN", "role", "person", "ner", "doc_key", "[[0, 0, \"person\"]]", "[0, 1]"]


def mutate(rng, data: bytes) -> bytes:
    "A few random cuts, copies, swaps and insertions of bytes, pieces and lines."
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in "ab")
        b, lines = min(b, a + rng.choice((1, 3, 30))), data.split(b"\n")
        k = rng.randrange(len(lines))
        data = [lambda: data[:a] + data[b:], lambda: data[:b] + data[a:b] + data[b:], lambda: data[:a] + rng.choice(PIECES).encode() + data[a:], lambda: data[:a] + rng.choice(PIECES).encode() + data[b:],
            lambda: b"\n".join(lines[:k] + lines[k + 1:]), lambda: b"\n".join(lines[:k] + [lines[rng.randrange(len(lines))]] + lines[k:]), lambda: data[:a] + bytes([rng.randrange(256)]) + data[a:]][rng.randrange(7)]()
    return data


FUZZED = {"smiler": (["uk"], lambda root: write_smiler(root), "uk_corpora_test.tsv"), "multicrossre": (["de"], lambda root: write_crossre(root), "de/ai-train.json"), "ud": (["es"], lambda root: write_ud(root), "es_pud-ud-test.conllu"),
    "conll": (["sw"], lambda root: write_conll(root, BIO), "sw/train.conll"), "minion": (["es"], lambda root: write_minion(root), "es/train.json")}


def write_minion(root):
    (root/"minion"/"es").mkdir(parents=True)
    for s in SPLITS: (root/"minion"/"es"/f"{s}.json").write_text("\n".join(json.dumps({"tokens": ["Murió", s, str(i)], "labels": ["B_Life:Die", "I_Life:Die", "O"], "pageID": f"{s}{i}"}) for i in range(5)))


@pytest.mark.parametrize("name", FUZZED)
def test_a_broken_file_is_read_or_named(name, tmp_path):
    "Whatever happens to a file: it is read, with sound spans and every oddity counted, or it is an `XltError` that names it and says why."
    languages, write, file = FUZZED[name]
    write(tmp_path)
    path = tmp_path/name/file
    good, outcomes, rng = path.read_bytes(), collections.Counter(), random.Random(name)
    for _ in range(300):
        path.write_bytes(mutate(rng, good))
        try: corpus = load_corpus(name, languages, tmp_path)
        except XltError as e:
            outcomes["error"] += 1
            assert re.match(rf"{re.escape(str(path))}(:\d+)?: \S", str(e)) or re.match(rf"{re.escape(str(path.parent))}: sentence .* (is missing|not in English)", str(e)), str(e)
            continue
        outcomes["read"] += 1
        for part in corpus.examples.values():
            for e in part:
                assert e.words and all(w.strip() for w in e.words) and (not e.tags or len(e.tags) == len(e.words))
                assert all(0 <= s.start < s.end <= len(e.words) for s in (*e.events, *e.entities)) and all(0 <= r.head < len(e.entities) and 0 <= r.tail < len(e.entities) for r in e.relations)
        assert all(n > 0 for n in corpus.quirks.values()) and len(quirk_table(corpus)) >= len(corpus.quirks)
        if name == "smiler": # every line is an example or is counted
            lines = [x for x in path.read_bytes().decode("utf-8-sig").split("\n")[1:] if x.strip()]
            assert len(lines) == len(corpus["uk", "test"]) + sum(n for (_, what), n in corpus.quirks.items() if what.endswith(", dropped"))
    assert min(outcomes["error"], outcomes["read"]) >= 5, outcomes

# ---------------------------------------------------------------- tables


def bytes_of_tables(): return {p.name: p.read_bytes() for p in sorted(tables_dir().glob("corpus_*.csv"))}


def test_tables_are_read_where_the_files_are_absent(outputs, monkeypatch, tmp_path):
    monkeypatch.setenv("XLT_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("xlt_nb.readers.external_dir", missing)
    before, published = bytes_of_tables(), {name for name, info in CORPORA.items() if info.languages and not info.shipped}
    table = readers_table()
    assert list(table.columns) == ["corpus", "language", "what", "count"] and (table["count"] > 0).all()
    assert {"minion", "multicrossre", "ud"} <= set(table.corpus) <= published
    for name in ("minion", "multicrossre", "ud"): assert set(statistics_table(name).corpus) == {name}
    assert write_corpus_tables() == [] and bytes_of_tables() == before
    with pytest.raises(XltError, match="data set 'smiler' not found"): statistics_table("smiler")


def missing(corpus, root=None): raise XltError(f"data set '{corpus}' not found")


def test_getters_write_nothing_even_where_the_files_are(outputs, tmp_path, monkeypatch):
    "Tables of other data than the committed ones: they are shown, and nothing changes on the disk."
    write_crossre(tmp_path)
    monkeypatch.setenv("XLT_DATA_DIR", str(tmp_path))
    before = bytes_of_tables()
    assert set(statistics_table("multicrossre").language) == {"en", "de"} and len(parallel_positions("multicrossre")) < 12
    assert set(readers_table().query("corpus == 'multicrossre'").language) == {"en", "de"}
    assert bytes_of_tables() == before


def test_one_function_writes_the_tables(outputs, tmp_path):
    write_crossre(tmp_path)
    before = bytes_of_tables()
    assert [p.name for p in write_corpus_tables(tmp_path)] == ["corpus_multicrossre.csv", "corpus_multicrossre_parallel.csv", "corpus_readers.csv"]
    after, away = bytes_of_tables(), tmp_path/"nowhere"
    assert {name for name in after if after[name] != before.get(name)} == {"corpus_multicrossre.csv", "corpus_multicrossre_parallel.csv", "corpus_readers.csv"}
    assert list(parallel_positions("multicrossre", away)) == list(parallel_positions("multicrossre", tmp_path))
    assert statistics_table("multicrossre", away).words.tolist() == statistics_table("multicrossre", tmp_path).words.tolist()
    assert {"minion", "ud"} <= set(readers_table(away).corpus), "what is not here keeps its rows"


def test_committed_tables_are_those_of_the_files(outputs, data_root):
    committed = bytes_of_tables()
    written = {p.name for p in write_corpus_tables(data_root)}
    here = [name for name in ("minion", "multicrossre", "smiler", "ud") if is_here(name, data_root)]
    assert written == {f"corpus_{x}.csv" for x in (*here, "multicrossre_parallel", "readers")}
    assert bytes_of_tables() == committed


def test_broken_data_is_not_hidden_by_the_table(tmp_path):
    (tmp_path/"minion"/"en").mkdir(parents=True)
    with pytest.raises(XltError, match="dev.json"): statistics_table("minion", str(tmp_path))


def test_priors_of_relations_leave_unrelated_pairs_out(tmp_path):
    write_crossre(tmp_path)
    priors = label_priors(load_corpus("multicrossre", root=tmp_path), "test", "relations")
    assert priors.loc["en", "artifact"] == priors.loc["en", "physical"] == 0.5 and NO_RELATION not in priors
    table = statistics_table("multicrossre", str(tmp_path))
    assert {"relations:artifact", "entities:person"} <= set(table.columns) and (table.unrelated[table.split == "test"] == 24).all() and table.relations.iloc[-1] == 18

# ---------------------------------------------------------------- scores that others measured

MATRIX = "source,target,score\nes,pt,80.5\nes,eng,70\npt,es,66\n"
MATRIX_LINE = "mine,m.csv,pos,UD (me),mBERT,bert,100,accuracy,ud,CC0-1.0,me,3"
LITMUS = """config,sources,sizes,target,score
0,es+pt,"{'es':100,'pt':5000}",es,80.5
0,es+pt,"{'es':100,'pt':5000}",ja,40
1,ja,"{'ja':1000}",es,50
1,ja,"{'ja':1000}",ja,90.25
"""
LITMUS_LINE = "l.csv,pos,UD (me),mBERT,bert,100,{part},train,accuracy,ud,CC0-1.0,me,4"


def write_shipped(root, kind, text, name, lines):
    "A folder like those that are shipped: one table, and an index of these lines."
    folder = root/kind
    folder.mkdir(exist_ok=True)
    header = (data_dir()/kind/"index.csv").read_text(encoding="utf8").splitlines()[0]
    (folder/"index.csv").write_text("\n".join([header, *lines, ""]), encoding="utf8")
    (folder/name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def write_matrix(root, text=MATRIX, lines=(MATRIX_LINE,), name="m.csv"): return write_shipped(root, "published", text, name, lines)


def write_litmus(root, text=LITMUS, lines=(LITMUS_LINE.format(part="train"),)): return write_shipped(root, "litmus", text, "l.csv", lines)


@pytest.mark.parametrize("text", [MATRIX, MATRIX.replace("\n", "\r\n"), "\ufeff" + MATRIX, MATRIX.rstrip("\n")])
def test_a_matrix_in_every_dress(text, tmp_path):
    write_matrix(tmp_path, text)
    table = read_published("mine", tmp_path)
    assert table.equals(read_published(["mine", "mine"], tmp_path)) and table.equals(read_published(root=tmp_path))
    assert table[["source", "target", "score"]].values.tolist() == [["es", "pt", 80.5], ["es", "en", 70.0], ["pt", "es", 66.0]]
    assert set(table.parameters) == {100} and set(table.corpus) == {"UD (me)"}


@pytest.mark.parametrize("old, new, reason", [
    ("eng", "englsh", r"m.csv:3: target: language: 'englsh' .*nearest: en \(English\)"), ("pt,es", ",es", "m.csv:4: source: language: ''"),
    ("es,eng", "spa,por", "m.csv:3: es, pt stands in line 2 already"), ("70", "", "m.csv:3: score: '' is not a number"),
    ("70", "nan", "m.csv:3: score: 'nan'"), ("70", "170", "m.csv:3: score: '170' is not a number from 0 to 100"), ("70", "-1", "m.csv:3: "),
    ("pt,es,66\n", "", "m.csv: 2 rows, but index.csv says 3"), ("pt,es,66", "pt,es", "m.csv:4: score: ''"), ("es,eng,70", "es,eng,70,1", "m.csv: not a table"),
    ("\nes,eng", "\n\nes,eng", "m.csv:3: source: language: ''"), ("score", "f1", "m.csv:1: columns source, target, f1; expected source, target, score"),
    ("es,pt", '"es,pt', "m.csv: not a table"), (MATRIX, "", "m.csv: not a table"),
    (MATRIX, "source,target,score\nes,pt,0.8\nes,en,0.7\npt,es,1\n", "m.csv: no score is above 1; points")])
def test_a_wrong_matrix_has_a_place(old, new, reason, tmp_path):
    write_matrix(tmp_path, MATRIX.replace(old, new, 1))
    with pytest.raises(XltError, match=reason): read_published("mine", tmp_path)


def test_a_truncated_file_is_named(tmp_path):
    whole = (data_dir()/"published"/"nnrank_ud_pos_mbert_test.csv.xz").read_bytes()
    line = MATRIX_LINE.replace("m.csv", "m.csv.xz").replace(",3", ",4872")
    write_matrix(tmp_path, whole, [line], "m.csv.xz")
    assert len(read_published("mine", tmp_path)) == 4872
    for kept in (len(whole)//2, len(whole) - 1, 10, 0):
        write_matrix(tmp_path, whole[:kept], [line], "m.csv.xz")
        with pytest.raises(XltError, match="m.csv.xz: not a table in CSV"): read_published("mine", tmp_path)
    write_matrix(tmp_path, lzma.compress(lzma.decompress(whole)[:-1000]), [line], "m.csv.xz")
    with pytest.raises(XltError, match=r"m.csv.xz(:\d+)?: "): read_published("mine", tmp_path)


@pytest.mark.parametrize("lines, reason", [
    ([], "m.csv: no line of index.csv names it"), ([MATRIX_LINE, MATRIX_LINE.replace("m.csv", "n.csv")], "index.csv:3: mine stands in line 2 already"),
    ([MATRIX_LINE, MATRIX_LINE.replace("mine", "other")], "index.csv:3: m.csv stands in line 2"),
    ([MATRIX_LINE, MATRIX_LINE.replace("mine,m", "other,n")], r"index.csv:3: pos, UD \(me\), mBERT stands in line 2"),
    ([MATRIX_LINE.replace("m.csv", "n.csv")], "index.csv:2: the file n.csv is not there"), ([MATRIX_LINE.replace(",3", ",three")], "index.csv:2: rows: 'three'"),
    ([MATRIX_LINE.replace(",100,", ",0.1B,")], "index.csv:2: parameters: '0.1B' is not a whole number")])
def test_the_index_and_the_folder_agree(lines, reason, tmp_path):
    write_matrix(tmp_path, lines=lines)
    for read in (published_index, lambda root: read_published(root=root)):
        with pytest.raises(XltError, match=reason): read(tmp_path)


def test_no_index_no_matrix(tmp_path):
    with pytest.raises(XltError, match="published.index.csv: not a table.*No such file"): published_index(tmp_path)
    write_matrix(tmp_path)
    with pytest.raises(XltError, match="published: 'mien' is not valid .nearest: mine"): read_published("mien", tmp_path)


def test_published_scores_are_nobody_elses():
    "No data set of ours has the name of a published one, and every name stands for one data set."
    from xlt_nb.scores import KEYS
    index, parts = published_index(), litmus_index()
    names = [*index.corpus, *parts.corpus]
    tables = [table for path in tables_dir().glob("transfer_*.csv") if "corpus" in (table := pd.read_csv(path))]
    ours = {corpus for table in tables for corpus in table.corpus} | set(CORPORA)
    assert {"minion", "ud", "xlt17"} <= ours and not ours & set(names) and all(re.fullmatch(r".+ \(.+\)", x) for x in names)
    assert not index.duplicated(KEYS).any() and not set(index.corpus) & set(parts.corpus)
    assert all(re.search(r"@ [0-9a-f]{7}$", x) for x in [*index.origin, *parts.origin]) and set(parts.licence) == {"MIT"}
    assert index.groupby("corpus").licence.unique().map(list).to_dict() == {
        "WikiANN (NN-Rank)": ["CC-BY-SA-4.0"], "UD (NN-Rank)": ["CC-BY-SA-4.0"], "MASSIVE (ProxyLM)": ["Apache-2.0"]}
    for kind, table in (("published", index), ("litmus", parts)):
        card = (data_dir()/kind/"README.md").read_text(encoding="utf8")
        assert not [x for x in (*table.file, *table.encoder, *table.checkpoint) if f"{x}" not in card]
        assert all(f"{n:,}" in card for n in (*table.parameters, *table.rows))


def test_published_scores_are_explained():
    from xlt_nb.regression import add_covariates, explain
    from xlt_nb.scores import read_transfer
    twelve = "nl de sv fr it es pt pl ru tr ko ja".split()
    table = read_published("wikiann-xlmr-base").query("source in @twelve and target in @twelve")
    transfer = read_transfer(table)
    assert len(transfer) == 144 and set(transfer.seeds) == {1} and transfer.seen.sum() == 12
    row = explain(transfer, ["syntactic"], permutations=49, draws=20).iloc[0]
    assert (row.corpus, row.encoder, row.languages, row.cells) == ("WikiANN (NN-Rank)", "XLM-R base", 12, 132) and row.within < 0
    assert "prior" not in add_covariates(transfer) # the priors of our treebanks are not theirs


def test_litmus_rows(tmp_path):
    write_litmus(tmp_path)
    table = read_litmus("pos", root=tmp_path)
    assert table.config.tolist() == ["train-0", "train-0", "train-1", "train-1"] and table.seen.tolist() == [True, False, False, True]
    assert table.sources[0] == ("es", "pt") and table.amounts[0] == (100, 5000) and table.cost.tolist() == [5100, 5100, 1000, 1000]
    amounts = amounts_table(table)
    assert amounts.columns.tolist() == ["es", "pt", "ja"] and amounts.loc["train-1"].tolist() == [0, 0, 1000] and len(amounts) == 2
    with pytest.raises(XltError, match="configurations: column: 'amounts'"): amounts_table(table.drop(columns="amounts"))
    with pytest.raises(XltError, match="configurations: 'train-0' stands for two sets of amounts"): amounts_table(pd.concat([table, table.assign(amounts=[(7, 7)]*2 + [(7,)]*2)]))
    for args, reason in ((("ner",), "task: 'ner' is not valid"), (("pos", "gold"), r"part: 'gold' is not valid \(valid: train\)")):
        with pytest.raises(XltError, match=reason): read_litmus(*args, root=tmp_path)


@pytest.mark.parametrize("old, new, reason", [
    ("0,es+pt,", "0,es+pt+ja,", r"l.csv:2: sources es\+pt\+ja, but sizes of es\+pt"), ("0,es+pt,", "0,es+es+pt,", "l.csv:2: sources es.es.pt, but"),
    ("'pt':5000}", "'pt':0}", "l.csv:2: sizes: 0 of pt is not a whole number above 0"), ("'pt':5000}", "'pt':1.5}", "l.csv:2: sizes: 1.5 of pt"),
    ("{'es':100,'pt':5000}", "es 100", "l.csv:2: sizes: not of the form"), ("{'es':100,'pt':5000}", "7", "l.csv:2: sizes: not of the form"),
    ("es+pt", "es+qqq", "l.csv:2: sources: language: 'qqq'"), ("es+pt", "es+spa", "l.csv:2: sources: es.spa names a language twice"), (",ja,40", ",xq,40", "l.csv:3: target: language: 'xq'"),
    (",ja,40", ",es,40", "l.csv:3: 0, es stands in line 2 already"), (",ja,40", ",spa,40", "l.csv:3: 0, es stands in line 2 already"),
    ("1,ja", "0,ja", "l.csv:4: configuration 0 has other sources or sizes than in line 2"), (",90.25", ",", "l.csv:5: score: ''"), ("config,", "id,", "l.csv:1: columns id, sources")])
def test_a_wrong_configuration_has_a_place(old, new, reason, tmp_path):
    text = LITMUS.replace(old, new)
    if new in ("es+qqq", "es+spa"): text = text.replace("'pt'", f"'{new[3:]}'")
    write_litmus(tmp_path, text)
    with pytest.raises(XltError, match=reason): read_litmus("pos", root=tmp_path)


def test_litmus_parts_are_told_apart(tmp_path):
    write_litmus(tmp_path, LITMUS.replace("1,ja,\"{'ja':1000}\",ja,90.25\n", ""))
    with pytest.raises(XltError, match="l.csv: 3 rows, but index.csv says 4"): read_litmus("pos", root=tmp_path)
    write_litmus(tmp_path, lines=[LITMUS_LINE.format(part="train"), LITMUS_LINE.format(part="train").replace("l.csv", "m.csv")])
    with pytest.raises(XltError, match="index.csv:3: pos, train stands in line 2 already"): read_litmus("pos", root=tmp_path)
    train, surprise, gold = [read_litmus("entities", part) for part in ("train", "train_surprise", "gold")]
    assert amounts_table(train).equals(amounts_table(surprise)) and not set(train.config) & set(gold.config)
    assert not set(train.target) & set(surprise.target) and len(amounts_table(pd.concat([train, gold]))) == 500


def test_what_is_shipped_is_what_was_published(data_root):
    from pathlib import Path
    for kind, index in (("published", published_index()), ("litmus", litmus_index())):
        for file in index.file:
            shipped = lzma.decompress((data_dir()/kind/file).read_bytes())
            before = Path(data_root)/kind/file
            assert shipped == (lzma.decompress(before.read_bytes()) if before.exists() else before.with_suffix("").read_bytes())

# ---------------------------------------------------------------- real files


def test_multicrossre_as_published(data_root):
    corpus = load_corpus("multicrossre", root=data_root)
    check_crossre(corpus)
    assert len(corpus.languages) == 12 and [len(corpus["en", s]) for s in SPLITS] == [2513, 263, 2446] and len(parallel_subset(corpus)) > 1000
    assert sum(n_labelled(e, "relations") for s in SPLITS for e in corpus["en", s]) > 18_000 and corpus.quirks["en", "training sentences whose English text is tested on, left out"] == 43


def test_ud_as_published(data_root):
    corpus = load_corpus("ud", root=data_root)
    pud = [x for x in corpus.languages if x not in ("fa", "nl", "uk")]
    assert len(pud) == 14 and all([e.id for e in corpus[x, s]] == [e.id for e in corpus["en", s]] for x in pud for s in SPLITS)
    assert [sum(len(corpus[x, s]) for s in SPLITS) for x in ("en", "fa", "nl", "uk")] == [1000, 1000, 596, 898]
    for x in corpus.languages: assert {d for e in corpus[x, "test"] if (d := e.doc)}.isdisjoint(e.doc for s in ("train", "dev") for e in corpus[x, s])


def test_smiler_as_published(data_root):
    "Sizes as the authors state them: rows that have a text."
    from pathlib import Path
    if not (Path(data_root)/"smiler").is_dir(): pytest.skip("SMiLER is not here")
    sizes = dict(ar=(9303, 190), de=(51490, 1051), en=(267579, 5461), es=(11061, 226), fa=(2624, 54), fr=(60884, 1243), it=(73974, 1510), ko=(18711, 382), nl=(38850, 793), pl=(16831, 344), pt=(43335, 885), ru=(6395, 131), sv=(4482, 92), uk=(968, 20))
    corpus = load_corpus("smiler", root=data_root)
    for lang, (train, test) in sizes.items():
        lost = sum(n for (x, what), n in corpus.quirks.items() if x == lang and (what.endswith((", dropped", ", left out")) and not what.startswith("empty texts")))
        assert train + test - lost == sum(len(corpus[lang, s]) for s in SPLITS)


def test_every_reader_is_registered():
    assert {"minion", "xlt17", "smiler", "multicrossre", "ud", "conll"} <= set(CORPORA)
    assert [name for name, info in CORPORA.items() if info.shipped] == ["xlt17"]
